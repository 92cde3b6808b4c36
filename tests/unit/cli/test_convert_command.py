"""``trtbuild convert`` on the command line: recipes, what it says, and what follows it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from support.checkpoints import make_llama
from support.command_line import trtbuild
from support.onnx_checkpoints import make_onnx_bert
from support.sentence_files import make_checkpoint
from trtbuild import lockfile


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return make_llama(tmp_path / "my-llama", sharded=True)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return tmp_path / "repo"


RECIPE = """\
triton: 26.07
repository: out
models:
  - source: my-llama
    name: one
    engine: {max_model_len: 128}
  - source: my-llama
    name: two
"""


def test_a_recipe_of_two_models(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "trtbuild.yaml").write_text(RECIPE)
    done = trtbuild("convert", "-f", "trtbuild.yaml")
    assert done.returncode == 0, done.stderr
    assert set(lockfile.read(tmp_path / "out").models) == {"one", "two"}
    again = trtbuild("convert", "-f", "trtbuild.yaml")
    assert again.stdout.splitlines() == [
        "✓ one is up to date in out",
        "✓ two is up to date in out",
    ]


def test_a_recipe_and_flags_do_not_mix(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "trtbuild.yaml").write_text(RECIPE)
    done = trtbuild("convert", "-f", "trtbuild.yaml", "--name", "x", "--set", "a=1")
    assert done.returncode == 2
    assert "--name, --set cannot be combined with --file" in done.stderr


def test_json_is_all_that_is_on_stdout(llama: Path, repo: Path) -> None:
    done = trtbuild("convert", llama, "--repo", repo, "--json")
    result = json.loads(done.stdout)
    assert result["models"][0]["status"] == "written"
    assert result["models"][0]["files"]["my-llama/config.pbtxt"]["size"] > 100
    failed = trtbuild("convert", llama, "--repo", repo, "--json", "--set", "x=1")
    assert json.loads(failed.stdout)["exit_code"] == 3


def test_what_it_says(llama: Path, repo: Path) -> None:
    done = trtbuild("convert", llama, "--repo", repo)
    assert "my-llama written to" in done.stdout
    assert f"trtbuild validate {repo}" in done.stdout
    assert "model.safetensors.index.json" in done.stdout


def test_it_warns_as_a_plan_does(llama: Path, repo: Path) -> None:
    release = ("--triton", "25.06")
    old = json.loads(trtbuild("convert", llama, "--repo", repo, *release, "--json").stdout)
    planned = json.loads(trtbuild("plan", llama, *release, "--json").stdout)
    told = old["models"][0]["warnings"]
    assert any("CVE-2026-47627" in warning for warning in told)
    assert told == planned["warnings"]
    again = trtbuild("convert", llama, "--repo", repo, *release, "--force")
    assert "warning: Triton 25.06 has known vulnerabilities" in again.stdout
    assert "CVE" not in trtbuild("convert", llama, "--repo", repo).stdout


def test_validate_list_show_and_remove_on_the_command_line(llama: Path, repo: Path) -> None:
    assert trtbuild("validate", repo).returncode == 2
    trtbuild("convert", llama, "--repo", repo, "--name", "bot")
    sound = json.loads(trtbuild("validate", repo, "--json").stdout)
    assert (sound["ok"], sound["findings"]) == (True, [])
    assert [row["from"] for row in sound["releases"]] == ["lock"]
    assert json.loads(trtbuild("list", "--repo", repo, "--json").stdout)[0]["name"] == "bot"
    assert "/models/bot/1/weights" in trtbuild("show", "bot", "--repo", repo).stdout
    unknown = trtbuild("show", "bob", "--repo", repo)
    assert (unknown.returncode, "did you mean 'bot'" in unknown.stderr) == (2, True)
    path = repo / "bot/config.pbtxt"
    path.write_text(path.read_text().replace("TYPE_BOOL", "TYPE_BOOOL", 1))
    broken = trtbuild("validate", repo)
    assert broken.returncode == 6
    assert re.search(r"\n +\d+ │ .*TYPE_BOOOL\n +│ +\^{10}\n", broken.stdout), broken.stdout
    report = json.loads(trtbuild("validate", repo, "--json").stdout)
    assert set(report) == {"ok", "findings", "releases"}
    assert set(report["findings"][0]) == {
        "rule", "severity", "model", "file", "line", "column", "message", "server_message", "fix",
        "details",
    }  # fmt: skip
    assert trtbuild("remove", "bot", "--repo", repo).returncode == 0
    assert [path.name for path in repo.iterdir()] == ["trtbuild.lock"]
    assert trtbuild("remove", "bot", "--repo", repo).returncode == 2


@pytest.mark.parametrize(
    ("flags", "status", "said"),
    [
        (("--quantize", "int8"), 4, "vllm: it has no --quantize, which is for exported graphs: "
         "quantize the checkpoint itself (trtbuild quantize)"),
        (("--accelerator", "tensorrt", "--backend", "vllm"), 4,
         "vllm: it has no --accelerator, which is for exported graphs: leave it out"),
        (("--quantize", "int8", "--set", "quantize=fp16"), 2,
         "--quantize int8 and --set quantize=fp16 contradict each other"),
        (("--quantize", "int8", "--file", "x.yaml"), 2, "--quantize cannot be combined with"),
    ],
)  # fmt: skip
def test_flags_of_graphs_are_for_builders_that_export(
    llama: Path, repo: Path, flags: tuple[str, ...], status: int, said: str
) -> None:
    source = () if "--file" in flags else (llama,)
    done = trtbuild("convert", *source, "--repo", repo, *flags)
    assert (done.returncode, said in " ".join(done.stderr.split())) == (status, True), done.stderr
    assert not repo.exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--quantize", "int9"), """'quantize' must be one of "fp16", "int8", not "int9\""""),
        (("--quantize", "int8", "--accelerator", "openvino"), "int8 graphs are for"),
    ],
)
def test_values_of_those_flags_are_checked(
    tmp_path: Path, repo: Path, flags: tuple[str, ...], said: str
) -> None:
    done = trtbuild("convert", make_onnx_bert(tmp_path / "bge"), "--repo", repo, *flags)
    assert (done.returncode, said in done.stderr) == (3, True), done.stderr


def test_code_of_an_embedder_is_never_run(tmp_path: Path, repo: Path) -> None:
    """The class is one that transformers has; accepting the code does not change the export."""
    ran = tmp_path / "ran"
    folder = make_checkpoint(tmp_path / "m", {"auto_map": {"AutoModel": "own.BertModel"}})
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w')\n")
    flags = ("--backend", "onnx", "--trust-remote-code")
    done = trtbuild("convert", folder, "--repo", repo, *flags)
    assert done.returncode == 4, done.stderr
    assert "brings code (auto_map), which the export never runs" in " ".join(done.stderr.split())
    assert not repo.exists() and not ran.exists()


def test_a_pooling_that_nothing_names_is_said_to_be_assumed(tmp_path: Path, repo: Path) -> None:
    folder = make_checkpoint(tmp_path / "m", chain=())
    done = trtbuild("convert", folder, "--repo", repo, "--dry-run")
    assert done.returncode == 0, done.stderr
    said = " ".join((done.stdout + done.stderr).split())
    assert "nothing says its pooling: mean is taken, without normalization" in said
    assert "add modules.json and 1_Pooling/config.json" in said

"""Writing an output directory: atomically, and never over an edit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from support.command_line import trtbuild
from support.deployments import deployable
from trtbuild_deploy.settings import load_settings
from trtbuild_deploy.target import example_of, find_target, target_names


@pytest.fixture
def out(tmp_path: Path) -> Path:
    repo = deployable(tmp_path)
    out = tmp_path / "out"
    done = trtbuild("deploy", "compose", repo, "-o", out)
    assert done.returncode == 0, done.stderr
    return out


def deploy(out: Path, *more: object) -> tuple[int, str]:
    done = trtbuild("deploy", "compose", out.parent / "model_repository", "-o", out, *more)
    return done.returncode, done.stdout + done.stderr


def test_writing_again_changes_nothing(out: Path) -> None:
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert deploy(out)[0] == 0
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_an_edit_is_never_overwritten_silently(out: Path) -> None:
    place = out / "compose.yaml"
    place.write_text(place.read_text() + "# mine\n")
    code, said = deploy(out)
    assert code == 2
    assert "compose.yaml" in said
    assert "trtbuild deploy diff" in said
    assert place.read_text().endswith("# mine\n")
    assert deploy(out, "--force")[0] == 0
    assert not place.read_text().endswith("# mine\n")


def test_files_of_others_stay(out: Path) -> None:
    (out / "notes").mkdir()
    (out / "notes/mine.md").write_text("mine")
    assert deploy(out)[0] == 0
    assert (out / "notes/mine.md").read_text() == "mine"


def test_a_file_of_somebody_else_is_not_taken(tmp_path: Path) -> None:
    repo = deployable(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    (out / "compose.yaml").write_text("services: {}\n")
    done = trtbuild("deploy", "compose", repo, "-o", out)
    assert done.returncode == 2
    assert (out / "compose.yaml").read_text() == "services: {}\n"
    assert len(list(out.iterdir())) == 1


def test_diff_tells_edits_from_changes(out: Path) -> None:
    (out / "compose.yaml").write_text("services: {}\n")
    (out / "probe.json").unlink()
    (out.parent / "deploy.yaml").write_text("server: {preStop: 20, exitTimeout: 90}\n")
    words = ["deploy", "diff", out.parent / "model_repository", "-o", out]
    done = trtbuild(*words, "-f", out.parent / "deploy.yaml", "--json")
    assert done.returncode == 0, done.stderr
    states = {one["path"]: one["state"] for one in json.loads(done.stdout)}
    assert states == {
        "compose.yaml": "edited",
        "probe.json": "missing",
        "compose.cpu.yaml": "changed",
        "compose.dev.yaml": "changed",
        "gateway.yaml": "changed",
    }
    checked = trtbuild(*words, "--check")
    assert checked.returncode == 6
    assert "edited: compose.yaml" in checked.stdout
    assert deploy(out, "--force")[0] == 0
    assert trtbuild(*words, "--check").returncode == 0


def test_diff_needs_a_directory_of_ours(tmp_path: Path) -> None:
    done = trtbuild("deploy", "diff", deployable(tmp_path), "-o", tmp_path)
    assert done.returncode == 2
    assert "was not written by trtbuild deploy" in done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[" * 100_000,
        json.dumps({"version": 1, "target": "", "repository": "", "files": {"a" * 300: ""}}),
    ],
    ids=["cut", "deep", "long"],
)
def test_a_damaged_manifest_is_an_error(out: Path, text: str) -> None:
    (out / ".trtbuild-deploy.json").write_text(text)
    code, said = deploy(out)
    assert code == 2
    assert "cannot be read" in said


def test_a_manifest_reaches_nothing_outside(out: Path) -> None:
    (out.parent / "mine.txt").write_text("mine")
    place = out / ".trtbuild-deploy.json"
    manifest = json.loads(place.read_text())
    manifest["files"]["../mine.txt"] = hashlib.sha256(b"mine").hexdigest()
    place.write_text(json.dumps(manifest))
    code, said = deploy(out, "--force")
    assert code == 2
    assert "'../mine.txt' is not a file of this directory" in said
    assert (out.parent / "mine.txt").exists()


def test_the_files_of_another_target_stay(out: Path) -> None:
    words = ["deploy", "helm", out.parent / "model_repository", "-o", out]
    done = trtbuild(*words)
    assert done.returncode == 2
    assert "has the files of the target compose" in done.stderr
    assert (out / "compose.yaml").exists()
    assert trtbuild(*words, "--force").returncode == 0
    assert not (out / "compose.yaml").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("verfy",), "did you mean 'verify'?"),
        (("hlem",), "did you mean 'helm'?"),
        (("check", "a" * 300), "is not a directory"),
        (("compose", "REPOSITORY", "-o", "a" * 300), "cannot be a directory: File name too long"),
    ],
)
def test_a_wrong_word_is_an_error(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    repo = deployable(tmp_path)
    done = trtbuild("deploy", *(repo if word == "REPOSITORY" else word for word in words))
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = trtbuild("deploy", "compose", deployable(tmp_path), "-o", out, "--dry-run", "--json")
    assert json.loads(done.stdout)["status"] == "planned"
    assert not out.exists()


def test_the_help_lists_the_targets() -> None:
    shown = " ".join(trtbuild("deploy", "--help").stdout.replace("│", " ").split())
    assert "helm A Helm chart with values for each environment." in shown


def test_facts_and_schema_are_printed(tmp_path: Path) -> None:
    repo = deployable(tmp_path)
    assert "queue: missing: no gauge" in trtbuild("deploy", "facts", repo).stdout
    found = json.loads(trtbuild("deploy", "facts", repo, "--json").stdout)
    assert found["metrics"]["signals"]["tokens"]["source"] == "NVIDIA's vLLM backend"
    schema = json.loads(trtbuild("deploy", "schema").stdout)
    assert schema["additionalProperties"] is False
    assert "preStop" in schema["$defs"]["Server"]["properties"]


def test_a_run_that_was_killed_is_completed(out: Path) -> None:
    """It has moved some files and not yet the manifest."""
    (out.parent / "deploy.yaml").write_text("server: {exitTimeout: 90}\n")
    old = (out / ".trtbuild-deploy.json").read_bytes()
    assert deploy(out, "-f", out.parent / "deploy.yaml")[0] == 0
    (out / ".trtbuild-deploy.json").write_bytes(old)
    code, said = deploy(out, "-f", out.parent / "deploy.yaml")
    assert code == 0, said
    assert (out / ".trtbuild-deploy.json").read_bytes() != old


def test_a_file_that_is_written_no_more_goes(out: Path) -> None:
    (out.parent / "deploy.yaml").write_text("gpu: {mode: none}\n")
    assert (out / "compose.cpu.yaml").exists()
    assert deploy(out, "-f", out.parent / "deploy.yaml")[0] == 0
    assert not (out / "compose.cpu.yaml").exists()


def test_the_repository_is_no_place_for_it(tmp_path: Path) -> None:
    repo = deployable(tmp_path)
    done = trtbuild("deploy", "compose", repo, "-o", repo / "deploy")
    assert done.returncode == 2
    assert "where every directory is a model" in done.stderr
    assert not (repo / "deploy").exists()


@pytest.mark.parametrize("kind", ["link", "file"])
def test_nothing_is_written_through_a_link_or_halfway(tmp_path: Path, kind: str) -> None:
    repo, out, outside = deployable(tmp_path), tmp_path / "out", tmp_path / "outside"
    out.mkdir()
    outside.mkdir()
    if kind == "link":
        (out / "chart").symlink_to(outside)
    else:
        (out / "chart").write_text("mine")
    done = trtbuild("deploy", "helm", repo, "-o", out, "--force")
    assert done.returncode == 2
    assert "must be a directory of its own" in done.stderr
    assert [path.name for path in out.iterdir()] == ["chart"]
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("target", ["loop", "nowhere"])
def test_a_link_to_no_directory_is_no_place(tmp_path: Path, target: str) -> None:
    (tmp_path / "loop").symlink_to(target)
    done = trtbuild("deploy", "compose", deployable(tmp_path), "-o", tmp_path / "loop")
    assert done.returncode == 2
    assert "directory" in done.stderr
    assert "bug" not in done.stderr


def test_a_disk_that_refuses_is_an_error(out: Path) -> None:
    (out / "compose.yaml").unlink()
    (out / "compose.yaml").mkdir()
    code, said = deploy(out, "--force")
    assert code == 5
    assert "cannot be written" in said


EXAMPLES = [name for name in target_names() if example_of(find_target(name))]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of_a_target_is_all_that_it_needs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    repo, out = deployable(tmp_path), tmp_path / "out"
    refused = trtbuild("deploy", name, repo, "-o", out)
    assert refused.returncode == 4
    assert f"trtbuild deploy {name} --example" in refused.stderr
    shown = trtbuild("deploy", name, "--example")
    assert shown.returncode == 0
    Path("deploy.yaml").write_text(shown.stdout)
    done = trtbuild("deploy", name, repo, "-f", "deploy.yaml", "-o", out)
    assert done.returncode == 0, done.stderr


def test_the_example_of_a_target_without_needs_changes_nothing(tmp_path: Path) -> None:
    assert "helm" in set(target_names()) - set(EXAMPLES)
    shown = trtbuild("deploy", "helm", "--example")
    assert shown.returncode == 0
    (tmp_path / "deploy.yaml").write_text(shown.stdout)
    given = load_settings(tmp_path / "deploy.yaml")
    assert given.model_dump() == load_settings(None).model_dump()


def test_settings_that_contradict_each_other_name_their_file(tmp_path: Path) -> None:
    repo, file = deployable(tmp_path), tmp_path / "prod.yaml"
    file.write_text("autoscaling: {kind: keda}\nreplicas: 3\n")
    done = trtbuild("deploy", "helm", repo, "-f", file, "-o", tmp_path / "out")
    assert done.returncode == 3
    assert f"at: {file}" in done.stderr
    assert f"fix: correct {file}" in done.stderr

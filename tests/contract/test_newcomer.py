"""A stranger's package with a builder for embedding models: what trtbuild says of its models is
true, and nothing of the core was edited for it.

The package is two files of at most sixty lines, as `docs/guides/writing-a-builder.md` describes it.
"""

from __future__ import annotations

import importlib
import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command_line import trtbuild
from support.onnx_checkpoints import WIDTH, make_onnx_bert
from trtbuild import lockfile
from trtbuild.builder import discover

PROJECT = """\
[project]
name = "acme-embed"
version = "1.0"
dependencies = ["trtbuild"]

[project.entry-points."trtbuild.builders.v1"]
onnx-embed = "acme_embed:builder"
"""

MODULE = '''\
"""Embedding models that come as ONNX, for Triton's onnxruntime backend."""

from trtbuild import pbtxt
from trtbuild.builder import Builder
from trtbuild.modelspec import Task
from trtbuild.plan import ModelEntry, RepoFile, WeightsDir

GRAPH = "onnx/model.onnx"
HEADER = "Written by acme-embed. Convert again rather than edit this file."


class OnnxEmbedBuilder(Builder):
    name = "onnx-embed"
    summary = "An embedding model's ONNX export, served by ONNX Runtime"
    priority = 70

    def reasons_unsupported(self, case):
        reasons = []
        if case.spec.task is not Task.EMBED:
            reasons.append(f"it serves embedding models, not {case.spec.task.value} models")
        if case.checkpoint is not None and not case.checkpoint.has(GRAPH):
            reasons.append(f"the checkpoint has no {GRAPH}: export it with optimum-cli")
        return reasons

    def models(self, case):
        ids = {"data_type": "TYPE_INT64", "dims": [-1]}
        config = pbtxt.model_config(
            name=case.recipe.name,
            backend="onnxruntime",
            max_batch_size=32,
            input=[{"name": name, **ids} for name in ("input_ids", "attention_mask")],
            output=[{"name": "last_hidden_state", "data_type": "TYPE_FP32",
                     "dims": [-1, case.spec.hidden_size]}],
        )
        file = RepoFile("config.pbtxt", pbtxt.render(config, header=HEADER).encode())
        graph = WeightsDir("1", files={GRAPH: "model.onnx"})
        words = WeightsDir("1/tokenizer", files={"tokenizer.json": "tokenizer.json"})
        return (ModelEntry(case.recipe.name, (file,), (graph, words)),)


builder = OnnxEmbedBuilder()
'''

# What is true of an LLM engine only.
FALSE = (
    "KV cache", "CUDA graph", "gpu_memory_utilization", "16 bits", "max_model_len", "health",
    "engine", "adapter", "vLLM", "TensorRT", "sequences", "chat", "text_input",
    "parameters", "safetensors", "0 B", "None",
)  # fmt: skip


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package as pip would leave it in site-packages."""
    site = tmp_path / "site"
    info = site / "acme_embed-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "acme_embed.py").write_text(MODULE)
    groups = tomllib.loads(PROJECT)["project"]["entry-points"]
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in rows.items())
             for group, rows in groups.items()]  # fmt: skip
    (info / "entry_points.txt").write_text("\n".join(lines))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-embed\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(site)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("acme_embed", None)


def prints(*words: object) -> str:
    """What a command prints, having checked that it claims nothing that is false."""
    done = trtbuild(*words)
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    assert [word for word in FALSE if word.lower() in text.lower()] == [], text
    return text


def test_a_package_of_two_files_is_enough() -> None:
    lines = (PROJECT + MODULE).splitlines()
    assert len(lines) <= 60
    assert all(len(line) <= 100 for line in lines)


def test_nothing_false_is_said_of_its_models(installed: Path) -> None:
    source, repo = make_onnx_bert(installed / "bge"), installed / "repo"
    dry = prints("convert", source, "--repo", repo, "--dry-run")
    assert "· bge would be written" in dry
    assert "up to date" not in prints("convert", source, "--repo", repo)
    assert "up to date" in prints("convert", source, "--repo", repo)
    assert (repo / "bge/1/model.onnx").read_bytes() == (source / "onnx/model.onnx").read_bytes()
    assert (repo / "bge/1/tokenizer/tokenizer.json").is_file()
    assert "is valid: 1 model" in prints("validate", repo)
    assert f"last_hidden_state  TYPE_FP32  [-1, {WIDTH}]" in prints("show", "bge", "--repo", repo)
    assert "onnx-embed" in prints("list", "--repo", repo)
    locked = lockfile.read(repo).models["bge"]
    assert locked.settings.keys() == {"allow_pickle", "backend", "dtype", "trust_remote_code"}
    assert locked.versions.keys() == {"trtbuild"}
    command = prints("serve", repo, "--mode", "docker", "--dry-run")
    assert "nvcr.io/nvidia/tritonserver:26.07-py3" in command


@pytest.mark.parametrize("gpu", [(), ("--gpu", "h100")])
def test_the_plan_has_what_the_builder_reports_and_no_more(
    installed: Path, gpu: tuple[str, ...]
) -> None:
    source = make_onnx_bert(installed / "bge")
    plan = json.loads(trtbuild("plan", source, *gpu, "--json").stdout)
    assert plan["builder"] == "onnx-embed"
    assert plan["memory"] is None
    # the core's own, of every checkpoint without modules.json
    assert ["says its pooling" in warning for warning in plan["warnings"]] == [True]
    assert [step["title"] for step in plan["steps"]] == [
        "Place onnx/model.onnx under bge/1",
        "Place tokenizer.json under bge/1/tokenizer",
        "Write bge: config.pbtxt",
    ]
    rejected = {row["builder"]: row["reasons"] for row in plan["rejected"]}
    for name in ("vllm", "trtllm", "trtllm-engine"):
        (reason,) = rejected[name]
        assert "has its weights in ONNX only" in reason
    text = trtbuild("plan", source, *gpu).stdout
    assert "memory: the builder onnx-embed gives no estimate" in text
    assert "KV cache" not in text


def test_it_is_discovered_with_its_distribution(installed: Path) -> None:
    (found,) = [one for one in discover() if one.name == "onnx-embed"]
    assert (found.distribution, found.problem) == ("acme-embed 1.0", "")


@pytest.mark.parametrize(
    "flag", [("--adapter", "a=b"), ("--engine", "x"), ("--no-build",), ("--set", "opset=17")]
)
def test_what_it_would_ignore_is_refused(installed: Path, flag: tuple[str, ...]) -> None:
    source = make_onnx_bert(installed / "bge")
    done = trtbuild("convert", source, "--repo", installed / "repo", *flag)
    assert done.returncode == 2
    assert f"the builder onnx-embed has no {flag[0]}" in done.stderr


def test_weights_cannot_stay_on_the_hub_unless_a_builder_leaves_them_there(
    installed: Path,
) -> None:
    source = make_onnx_bert(installed / "bge")
    done = trtbuild("convert", source, "--repo", installed / "repo", "--weights", "hub")
    assert done.returncode == 2
    assert "the builder onnx-embed has no --weights hub" in done.stderr


def test_without_the_graph_it_gives_its_reason(installed: Path) -> None:
    source = make_onnx_bert(installed / "bge", at="model.onnx")
    mine = ("--backend", "onnx-embed")
    done = trtbuild("convert", source, "--repo", installed / "repo", *mine)
    assert done.returncode == 4
    assert "onnx-embed: the checkpoint has no onnx/model.onnx" in done.stderr

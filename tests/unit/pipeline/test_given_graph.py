"""``trtbuild convert`` of a checkpoint that has only an ONNX graph, taken or refused as a whole."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from support.command_line import trtbuild
from support.onnx_checkpoints import VOCAB, WIDTH, make_onnx_bert
from trtbuild.server import runtime

GRAPH = "onnx/model.onnx"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A given graph needs neither PyTorch nor transformers, so these tests' Python does."""
    here = SimpleNamespace(python=Path(sys.executable))
    monkeypatch.setattr(runtime, "install", lambda *_, **__: here)
    monkeypatch.setattr("trtbuild.pipeline.artifacts._is_ready", lambda _: True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TRTBUILD_CACHE", str(tmp_path / "cache"))
    return make_onnx_bert(tmp_path / "bge")


def convert(source: Path, *flags: str) -> tuple[int, str, Path]:
    repo = source.parent / "repo"
    done = trtbuild("convert", source, "--repo", repo, "--backend", "onnx", *flags)
    return done.returncode, done.stderr, repo


def refused(source: Path, *flags: str) -> str:
    """The message of a conversion that fails and writes nothing."""
    status, said, repo = convert(source, *flags)
    assert status == 5, said
    assert not list(repo.glob("*/config.pbtxt"))
    assert "fix:" in said
    return " ".join(said.split())


def rewrite(source: Path, nodes: list[Any], weights: dict[str, np.ndarray[Any, Any]]) -> None:
    """A graph of token ids and mask whose ``nodes`` end in ``last_hidden_state``."""
    graph = helper.make_graph(
        nodes,
        "made",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["b", "s", WIDTH])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, source / GRAPH)


def rows(seed: int) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = np.random.default_rng(seed).normal(size=(VOCAB, WIDTH))
    return found.astype(np.float32)


def test_a_graph_that_passes_is_taken_as_it_is(source: Path) -> None:
    status, said, repo = convert(source)
    assert status == 0, said
    assert (repo / "bge_core/1/model.onnx").read_bytes() == (source / GRAPH).read_bytes()


def test_a_fixed_axis(source: Path) -> None:
    model = onnx.load(source / GRAPH)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 128
    onnx.save(model, source / GRAPH)
    said = refused(source)
    assert "input input_ids has a fixed size (128)" in said
    assert "dynamic axes for batch and sequence" in said


def test_missing_weights(source: Path) -> None:
    model = onnx.load(source / GRAPH)
    where = source / "onnx/all.data"
    onnx.save(model, source / GRAPH, save_as_external_data=True, location="all.data",
              size_threshold=100)  # fmt: skip
    where.unlink()
    assert "the weights of model.onnx are not beside it: all.data" in refused(source)


def test_a_newer_opset_than_the_release_reads(source: Path) -> None:
    model = onnx.load(source / GRAPH)
    model.opset_import[0].version = 26
    onnx.save(model, source / GRAPH)
    said = refused(source, "--triton", "25.03")
    assert "the graph has opset 26, and ONNX Runtime 1.21.0 of Triton 25.03 reads up to" in said


def test_a_file_that_is_no_graph(source: Path) -> None:
    (source / GRAPH).write_bytes(b"not found: graph 404")
    assert "onnx/model.onnx of" in refused(source)


def test_rows_that_depend_on_their_batch(source: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["found"]),
        helper.make_node("ReduceMean", ["found"], ["others"], axes=[0], keepdims=1),
        helper.make_node("Add", ["found", "others"], ["last_hidden_state"]),
    ]
    rewrite(source, nodes, {"table": rows(1)})
    said = refused(source)
    assert "does not answer as the reference does, so nothing was written" in said
    assert "in a batch: off by" in said


def test_a_quantized_graph_is_compared_with_the_one_that_came(source: Path) -> None:
    """One huge column, which the weights ignore, takes all steps of the activations' scale."""
    table = rows(2)
    table[:, 0] = 1e5
    weights = rows(3)[:WIDTH]
    weights[0] = 0
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["found"]),
        helper.make_node("MatMul", ["found", "weights"], ["last_hidden_state"]),
    ]
    rewrite(source, nodes, {"table": table, "weights": weights})
    said = refused(source, "--quantize", "int8")
    assert "the mean cosine is" in said
    assert "leave quantize out, or try fp16" in said

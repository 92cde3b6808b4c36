"""What the export's script does with graphs: those that are given, and smaller number formats."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import PIL
import pytest
from onnx import TensorProto, helper, numpy_helper

from support.onnx_encoders import SETTINGS, write_graph
from trtbuild.resources import template_dir

NAMES = ("worker", "quantized", "packages")
RUNTIME = {"name": "ONNX Runtime 1.23.2 of Triton 25.11", "opset": 23, "ir": 11}


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    before, known = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(template_dir("onnx", "export")))
    yield {name: importlib.import_module(name) for name in NAMES}
    sys.path[:] = before
    for name in {*NAMES, "accuracy"} - known:
        sys.modules.pop(name, None)


def small(path: Path, *, opset: int = 17, ir: int = 8, **shapes: list[int | str]) -> None:
    """A graph that returns its ids, with the inputs of ``shapes``."""
    given = shapes or {"input_ids": ["batch", "sequence"]}
    rows = [helper.make_tensor_value_info(n, TensorProto.INT64, s) for n, s in given.items()]
    out = helper.make_tensor_value_info("out", TensorProto.INT64, ["batch", "sequence"])
    nodes = [helper.make_node("Identity", [next(iter(given))], ["out"])]
    graph = helper.make_graph(nodes, "small", rows, [out])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    onnx.save(made, path)


def refusal(call: Any, *arguments: Any) -> str:
    with pytest.raises(SystemExit) as caught:
        call(*arguments)
    return str(caught.value.code)


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ({"opset": 24}, "the graph has opset 24, and ONNX Runtime 1.23.2 of Triton 25.11 reads up"),
        ({"ir": 12}, "the graph has IR version 12, and ONNX Runtime 1.23.2"),
    ],
)
def test_a_graph_newer_than_the_release_is_refused(
    modules: dict[str, ModuleType], tmp_path: Path, versions: dict[str, int], message: str
) -> None:
    small(tmp_path / "g.onnx", **versions)  # type: ignore[arg-type]
    said = refusal(modules["worker"].require_read, tmp_path / "g.onnx", RUNTIME)
    assert message in said
    assert "export it with an older opset, or serve a newer release" in said
    small(tmp_path / "g.onnx", opset=23, ir=11)
    modules["worker"].require_read(tmp_path / "g.onnx", RUNTIME)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"input_ids": [1, "sequence"]}, "input input_ids has a fixed size (1): export it with"),
        ({"input_ids": ["batch", 128]}, "input input_ids has a fixed size (128)"),
        ({"input_ids": ["b", "s"], "position_ids": ["b", "s"]}, "not those of a text model"),
        ({"pixel_values": ["b", "s"]}, "not those of a text model: pixel_values"),
    ],
)
def test_a_graph_with_other_inputs_is_refused(
    modules: dict[str, ModuleType], tmp_path: Path, shapes: dict[str, Any], message: str
) -> None:
    small(tmp_path / "g.onnx", **shapes)
    said = refusal(modules["worker"].describe, tmp_path / "g.onnx", SETTINGS, [])
    assert message in said


@pytest.mark.parametrize("name", ["weights.bin", "../weights.bin"])
def test_weights_outside_must_be_beside_the_graph(
    modules: dict[str, ModuleType], tmp_path: Path, name: str
) -> None:
    write_graph(tmp_path)
    model = onnx.load(tmp_path / "model.onnx")
    tensor = next(one for one in model.graph.initializer if one.name == "words")
    tensor.raw_data = b""
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=name)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "out").mkdir()
    said = refusal(modules["worker"]._take, tmp_path / "model.onnx", tmp_path / "out")
    assert said == f"ERROR: the weights of model.onnx are not beside it: {name}"


def test_a_given_graph_is_taken_with_its_weights(
    modules: dict[str, ModuleType], tmp_path: Path
) -> None:
    write_graph(tmp_path)
    model = onnx.load(tmp_path / "model.onnx")
    onnx.save(model, tmp_path / "model.onnx", save_as_external_data=True, location="all.data",
              size_threshold=100)  # fmt: skip
    out = tmp_path / "out"
    out.mkdir()
    modules["worker"]._take(tmp_path / "model.onnx", out)
    assert {path.name for path in out.iterdir()} == {"model.onnx", "all.data"}
    said = modules["worker"].describe(out / "model.onnx", SETTINGS, ["mean"])
    assert said["inputs"] == {"input_ids": 0, "attention_mask": 0}
    assert (said["output"], said["pooling"], said["opset"]) == ("embeddings", [], 17)


def test_states_of_tokens_are_pooled_outside(
    modules: dict[str, ModuleType], tmp_path: Path
) -> None:
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])
    out = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["b", "s", 4])
    table = numpy_helper.from_array(np.zeros((9, 4), np.float32), "table")
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])]
    graph = helper.make_graph(nodes, "states", [ids], [out], [table])
    onnx.save(helper.make_model(graph), tmp_path / "g.onnx")
    said = modules["worker"].describe(tmp_path / "g.onnx", SETTINGS, ["mean"])
    assert (said["output"], said["output_dims"], said["pooling"]) == (
        "last_hidden_state", [-1, 4], ["mean"],
    )  # fmt: skip


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("kind", ["int8", "fp16"])
def test_a_smaller_graph_points_the_same_way(
    modules: dict[str, ModuleType], tmp_path: Path, kind: str, outside: bool
) -> None:
    path = tmp_path / "model.onnx"
    write_graph(tmp_path)
    if outside:
        onnx.save(onnx.load(path), path, save_as_external_data=True, location="model.onnx.data",
                  size_threshold=100)  # fmt: skip
    given = {
        "input_ids": np.arange(40, dtype=np.int64).reshape(4, 10),
        "attention_mask": np.ones((4, 10), dtype=np.int64),
    }
    wanted = onnxruntime.InferenceSession(path).run(None, given)[0]
    modules["quantized"].write(path, kind)
    found = onnxruntime.InferenceSession(path).run(None, given)[0]
    assert not np.array_equal(found, wanted)
    assert (found * wanted).sum(axis=1).min() > 0.98
    names = {one.name for one in tmp_path.iterdir()}
    assert names == {"model.onnx", *(["model.onnx.data"] if outside else [])}


def test_pillow_lies_there_for_several_pythons(
    modules: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages, here = modules["packages"], "{}.{}".format(*sys.version_info)
    fetched = []
    monkeypatch.setattr(packages, "_fetch", lambda *given: fetched.append(given))
    packages.pillow(tmp_path, [here, "3.99"])
    assert (tmp_path / "PIL/Image.py").is_file()
    assert list((tmp_path / "PIL").glob("_imaging.*.so"))
    ((package, python, _),) = fetched
    assert (package, python) == (f"pillow=={PIL.__version__}", "3.99")


def test_a_package_that_is_not_there_is_told(
    modules: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho warning >&2\necho 'ERROR: no index' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    message = refusal(modules["packages"]._fetch, "pillow==1", "3.12", tmp_path)
    assert "pillow==1 for Python 3.12" in message
    assert "could not be fetched (ERROR: no index): check the network or PIP_INDEX_URL" in message

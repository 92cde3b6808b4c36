"""ONNX models: what the backend refuses, completes and reads, one case for each of its checks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trtbuild import check, pbtxt, toolchain
from trtbuild.check.apart import apart
from trtbuild_rules.readers.graphs import onnxslim
from trtbuild_rules.readers.graphs.onnxbackend import completed
from trtbuild_rules.readers.graphs.onnxfile import read_onnx
from trtbuild_rules.readers.graphs.onnxslim import without_weights

F, I64 = TensorProto.FLOAT, TensorProto.INT64
X = ("x", F, ["N", 4])
Y = ("y", F, ["N", 4])
CONFIG = 'name: "m" backend: "onnxruntime" '
IN = 'input { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } '
OUT = 'output { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } '
CONTROLS = """
sequence_batching { control_input [
  { name: "a" control [ { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } ] },
  { name: "b" control [ { kind: CONTROL_SEQUENCE_READY fp32_false_true: [ 0, 1 ] } ] }
] }"""
CONTROL_TENSORS = [("a", F, ["N", 1]), ("b", F, ["N", 1])]
STATE = """
sequence_batching { state [
  { input_name: "s" output_name: "t" data_type: TYPE_FP32 dims: [ 4 ] }
] }"""


def content(
    inputs: Sequence[Any] = (X,),
    outputs: Sequence[Any] = (Y,),
    *,
    operator: str = "Relu",
    domain: str = "",
    weights: Sequence[Any] = (),
    nodes: Sequence[Any] = (),
    **more: Any,
) -> bytes:
    """A file in which ``operator`` makes the first output of the first input."""
    nodes = [
        helper.make_node(operator, [inputs[0][0]], [outputs[0][0]], domain=domain),
        *(helper.make_node("Identity", [inputs[0][0]], [one[0]]) for one in outputs[1:]),
        *nodes,
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info(*one) for one in outputs],
        list(weights),
    )
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    made = helper.make_model(graph, **{"ir_version": 8, "opset_imports": opsets, **more})
    return bytes(made.SerializeToString())


def said(tmp_path: Path, file: bytes, config: str, **options: Any) -> list[str]:
    """What the server is said to say, errors only."""
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model.onnx").write_bytes(file)
    (tmp_path / "m" / "config.pbtxt").write_text(CONFIG + config)
    report = check.validate(tmp_path, gpus=0, **options)
    return [found.server_message for found in report.findings if found.severity == "error"]


W = numpy_helper.from_array(np.ones(4, dtype=np.float32), "w")
FULL_IN = 'input { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] } '
FULL_OUT = 'output { name: "y" data_type: TYPE_FP32 dims: [ -1, 4 ] } '
LOADED = {
    "as the file": (content(), "max_batch_size: 8 " + IN + OUT),
    "controls": (content([X, *CONTROL_TENSORS]), "max_batch_size: 8 " + IN + OUT + CONTROLS),
    "states": (content([X, ("s", F, ["N", 4])]), "max_batch_size: 8 " + IN + OUT + STATE),
    "an initializer that is optional": (
        content([X, ("w", F, [4])], weights=[W]),
        FULL_IN + FULL_OUT + 'input { name: "w" data_type: TYPE_FP32 dims: [ 4 ] optional: true }',
    ),
    "an initializer that is left out": (
        content([X, ("w", F, [4])], weights=[W]),
        FULL_IN + FULL_OUT,
    ),
    "a scalar": (
        content([X, ("s", F, [])]),
        FULL_IN + FULL_OUT + 'input { name: "s" data_type: TYPE_FP32 dims: [ 1 ] }',
    ),
    "an input that is fixed in the configuration only": (
        content([("x", F, ["N", "L"])], [("y", F, ["N", "L"])]),
        "max_batch_size: 8 " + IN + OUT.replace("4", "-1"),
    ),
    "an output whose sizes are inferred": (
        content([X], [("y", F, ["A", "B"])]),
        "max_batch_size: 8 " + IN + OUT,
    ),
    "a ragged input": (
        content([("x", F, ["T"]), ("n", F, ["M"])], [("y", F, ["T"])]),
        "max_batch_size: 8 "
        'input { name: "x" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true } '
        'output { name: "y" data_type: TYPE_FP32 dims: [ 9 ] } '
        'batch_input { kind: BATCH_ELEMENT_COUNT target_name: "n" data_type: TYPE_FP32 '
        'source_input: "x" } '
        'batch_output { target_name: "y" source_input: "x" }',
    ),
    "a reshape": (
        content([("x", F, ["N", 2, 2])], [("y", F, ["N", 2, 2])]),
        "max_batch_size: 8 "
        + (IN + OUT).replace("dims: [ 4 ]", "dims: [ 4 ] reshape { shape: [ 2, 2 ] }"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("auto_complete", [False, True])
@pytest.mark.parametrize("case", LOADED)
def test_what_the_backend_loads(case: str, auto_complete: bool, tmp_path: Path) -> None:
    assert said(tmp_path, *LOADED[case], auto_complete=auto_complete) == []


BATCH = (
    "(an initial batch dimension because max_batch_size > 0 followed by the explicit tensor "
    "shape, making complete shape "
)
EXPECTS = "unable to load model 'm', configuration expects "
REFUSED = {
    "an output that is fixed in the configuration only": (
        content([("x", F, ["N", "L"])], [("y", F, ["N", "L"])]),
        "max_batch_size: 8 " + IN.replace("4", "-1") + OUT,
        "model 'm', tensor 'y': the model expects 2 dimensions (shape [-1,-1]) but the model "
        f"configuration specifies 2 dimensions {BATCH}[-1,4])",
    ),
    "an input that is open in the configuration only": (
        content(),
        "max_batch_size: 8 " + IN.replace("4", "-1") + OUT,
        "model 'm', tensor 'x': the model expects 2 dimensions (shape [-1,4]) but the model "
        f"configuration specifies 2 dimensions {BATCH}[-1,-1])",
    ),
    "a first dimension that is fixed in the configuration only": (
        content(),
        (FULL_IN + FULL_OUT).replace("-1, 4", "1, 4"),
        "model 'm', tensor 'y': the model expects 2 dimensions (shape [-1,4]) but the model "
        "configuration specifies 2 dimensions (shape [1,4])",
    ),
    "a batch of a file without one": (
        content([("x", F, [1, 4])], [("y", F, [1, 4])]),
        "max_batch_size: 8 " + IN + OUT,
        "model 'm', tensor 'x': for the model to support batching the shape should have at least "
        "1 dimension and the first dimension must be -1; but shape expected by the model is [1,4]",
    ),
    "an input that is left out": (
        content([X, ("z", F, ["N", 4])]),
        "max_batch_size: 8 " + IN + OUT,
        EXPECTS + "1 inputs, model provides 2",
    ),
    "an output of another name": (
        content(),
        "max_batch_size: 8 " + IN + OUT.replace('"y"', '"308"'),
        "unexpected inference output '308', allowed outputs are: y",
    ),
    "an input of another type": (
        content([("x", TensorProto.STRING, ["N", 4])]),
        "max_batch_size: 8 " + IN + OUT,
        EXPECTS + "datatype TYPE_FP32 for input 'x', model provides TYPE_BYTES",
    ),
    "a type that the backend does not have": (
        content(),
        "max_batch_size: 8 " + IN.replace("FP32", "BF16") + OUT,
        "unsupported datatype TYPE_BF16 for input 'x' for model 'm'",
    ),
    "a control that the file lacks": (
        content(),
        "max_batch_size: 8 " + IN + OUT + CONTROLS,
        "configuration specified sequence control 'a', but model does not provide that input",
    ),
    "a control of another shape": (
        content([X, ("a", F, ["N", 2]), ("b", F, ["N", 1])]),
        "max_batch_size: 8 " + IN + OUT + CONTROLS,
        "unable to load model 'm', sequence control 'a' in model has dims [2] but dims [1] is "
        "expected",
    ),
    "a control of another type": (
        content([X, ("a", TensorProto.INT32, ["N", 1]), ("b", F, ["N", 1])]),
        "max_batch_size: 8 " + IN + OUT + CONTROLS,
        "unable to load model 'm', sequence control 'a', the model expects data-type INT32 but "
        "the model configuration specifies data-type TYPE_FP32",
    ),
    "a ragged input of two dimensions": (
        content(),
        "max_batch_size: 8 " + IN.replace("]", "] allow_ragged_batch: true") + OUT,
        EXPECTS + "model provides input with shape [-1]  for ragged input 'x', model provides "
        "[-1,4]",
    ),
    "an optional input of a model with a batch": (
        content(),
        "max_batch_size: 8 " + IN.replace("]", "] optional: true") + OUT,
        "unable to load model 'm', optional input 'x' is not supported for models that support "
        "batching",
    ),
    "a tensor without a shape": (
        content([("x", F, None)], [("y", F, None)]),
        FULL_IN + FULL_OUT,
        "unable to load model 'm', scalar tensor 'x', should only provide 1 in the model "
        "configuration when the model doesn't support batching. Model configuration provided: "
        "[-1,4].",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("auto_complete", [False, True])
@pytest.mark.parametrize("case", REFUSED)
def test_what_the_backend_refuses(case: str, auto_complete: bool, tmp_path: Path) -> None:
    file, config, server = REFUSED[case]
    assert server in said(tmp_path, file, config, auto_complete=auto_complete)


def test_an_output_that_is_no_tensor(tmp_path: Path) -> None:
    node = helper.make_node("SequenceConstruct", ["x"], ["p"])
    model = onnx.load_model_from_string(content(nodes=[node]))
    model.graph.output.append(helper.make_tensor_sequence_value_info("p", F, None))
    assert said(tmp_path, model.SerializeToString(), "max_batch_size: 8 " + IN + OUT) == [
        "Unsupported ONNX Type 'ONNX_TYPE_SEQUENCE' for I/O 'p', expected 'ONNX_TYPE_TENSOR'."
    ]


def test_a_batch_that_cannot_be_completed(tmp_path: Path) -> None:
    file = content([("x", F, [1, 4])], [("y", F, [1, 4])])
    assert said(tmp_path, file, "max_batch_size: 8", auto_complete=True) == [
        "autofill failed for model 'm': model does not support batching while non-zero "
        "max_batch_size is specified"
    ]


@pytest.mark.parametrize(
    ("file", "batch", "dims"),
    [
        (content(), 4, [[4], [4]]),
        (content([("x", F, [2, 4])], [("y", F, [2, 4])]), 0, [[2, 4], [2, 4]]),
        (content([("x", F, ["N"])], [("y", F, ["N"])]), 4, [[1], [1]]),
    ],
)
def test_what_is_completed(file: bytes, batch: int, dims: list[list[int]]) -> None:
    done = completed(pbtxt.model_config(name="m"), read_onnx(file))
    assert done.max_batch_size == batch
    assert [list(tensor.dims) for tensor in (*done.input, *done.output)] == dims


def test_sizes_that_only_onnx_runtime_knows_are_a_warning(tmp_path: Path) -> None:
    file = content([X], [("y", F, ["A", "B"])], operator="Snpe", domain="com.microsoft")
    assert said(tmp_path, file, "max_batch_size: 8 " + IN + OUT) == []
    assert [f.severity for f in check.validate(tmp_path).findings if f.rule == "TRT622"] == [
        "warning"
    ]


def test_a_file_on_which_the_inference_aborts_is_read(tmp_path: Path) -> None:
    """A negative size ends a process in ONNX's own inference of Slice."""
    weights = [
        numpy_helper.from_array(np.array([one], dtype=np.int64), f"w{one}") for one in (0, 2)
    ]
    weights.append(TensorProto(name="bad", data_type=F, dims=[-5]))
    slice_ = helper.make_node("Slice", ["bad", "w0", "w2", "w0"], ["z"])
    file = content(weights=weights, nodes=[slice_])
    assert said(tmp_path, file, "max_batch_size: 8 " + IN + OUT) == []


def test_weights_are_not_read() -> None:
    weights = [
        numpy_helper.from_array(np.ones((100, 100), dtype=np.float32), "large"),
        numpy_helper.from_array(np.ones(4, dtype=np.float32), "small"),
        helper.make_tensor("numbers", F, [9000], [1.0] * 9000),
    ]
    constant = helper.make_node("Constant", [], ["c"], value=weights[0])
    file = content(weights=weights, nodes=[constant])
    slim = without_weights(file)
    assert len(slim) < 1000
    full, rest = map(onnx.load_model_from_string, (file, slim))
    assert [list(one.dims) for one in rest.graph.initializer] == [[100, 100], [4], [9000]]
    for model in (full, rest):
        for tensor in (*model.graph.initializer, model.graph.node[-1].attribute[0].t):
            if tensor.name != "small":
                tensor.ClearField("raw_data")
                tensor.ClearField("float_data")
    assert rest == full


@pytest.mark.parametrize("file", [b"", b"\xff", b"\x3a\x7f", b"\x12\x34 not ONNX", b"\x0f"])
def test_what_is_no_protobuf_stays(file: bytes) -> None:
    assert without_weights(file) == file


def test_without_the_extra_it_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("backends.onnx", "readers.graphs.onnxmodel"):
        monkeypatch.setattr(f"trtbuild_rules.{module}.available", lambda: False)
    for name in "ab":
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "1" / "model.onnx").write_bytes(content())
        (tmp_path / name / "config.pbtxt").write_text('backend: "onnxruntime" max_batch_size: 8')
    found = [one for one in check.validate(tmp_path).findings if one.rule.startswith("TRT62")]
    assert [(one.model, one.severity, one.fix) for one in found] == [
        ("a", "info", "pip install 'trtbuild[onnx]'")
    ]


def test_a_graph_that_is_not_optimized_computes_no_constants() -> None:
    two = numpy_helper.from_array(np.array([2, 2], dtype=np.int64), "two")
    add = helper.make_node("Add", ["two", "two"], ["four"])
    reshape = helper.make_node("Reshape", ["x", "four"], ["r"])
    model = onnx.load_model_from_string(content(weights=[two], nodes=[add, reshape]))
    model.graph.output.append(helper.make_tensor_value_info("r", F, ["A", "B"]))
    file = model.SerializeToString()
    assert read_onnx(file).outputs["r"].dims == (4, 4)
    assert read_onnx(file, optimized=False).outputs["r"].dims == (-1, -1)


def test_work_in_a_process_of_its_own() -> None:
    assert apart(sum, [1, 2]) == 3
    assert apart(int, "no number") is None


IR = "Unsupported model IR version: {}, max supported IR version: 10"


@pytest.mark.parametrize(
    ("made", "release", "server"),
    [
        ({"ir_version": 11}, "25.05", IR.format(11)),
        ({"ir_version": 11}, "25.08", ""),
        ({"ir_version": 13}, "24.10", IR.format(13)),
        (
            {"opset_imports": [helper.make_opsetid("", 24)]},
            "25.08",
            "Current official support for domain ai.onnx is till opset 23.",
        ),
        ({"opset_imports": [helper.make_opsetid("", 24)]}, "26.02", ""),
    ],
)  # fmt: skip
def test_versions_by_release(made: Any, release: str, server: str, tmp_path: Path) -> None:
    config = "max_batch_size: 8 " + IN + OUT
    assert said(tmp_path, content(**made), config, triton=release) == ([server] if server else [])


def test_every_release_that_is_known_has_its_onnx_runtime() -> None:
    known = toolchain.onnx_runtimes()
    for release in toolchain.releases():
        if release.triton <= max(known):
            assert toolchain.onnx_runtime(release.triton)


@pytest.mark.parametrize(
    ("operator", "domain", "config", "server"),
    [
        ("Mine", "my.ops", "", ["my.ops:Mine(-1) is not a registered function/op"]),
        ("Mine", "my.ops", 'model_operations { op_library_filename: "/opt/libmine.so" }', []),
        ("BatchedNMS_TRT", "", "", ["No Op registered for BatchedNMS_TRT with domain_version of"]),
        ("Gelu", "com.microsoft", "", []),
        ("Geluu", "com.microsoft", "", ["com.microsoft:Geluu(-1) is not a registered function/op"]),
    ],
)
def test_operators(
    operator: str, domain: str, config: str, server: list[str], tmp_path: Path
) -> None:
    file = content(operator=operator, domain=domain)
    assert said(tmp_path, file, "max_batch_size: 8 " + IN + OUT + config) == server


@pytest.mark.parametrize(
    ("operator", "release", "fix"),
    [
        (
            "GatherBlockQuantized",
            "24.11",
            "use Triton 24.12 or newer, or export the model without it",
        ),
        ("GatherBlockQuantized", "24.12", ""),
        ("LinearAttention", "26.06", "use Triton 26.07 or newer, or export the model without it"),
        ("LinearAttention", "26.07", ""),
    ],
)
def test_operators_of_onnx_runtime_by_release(
    operator: str, release: str, fix: str, tmp_path: Path
) -> None:
    file = content(operator=operator, domain="com.microsoft")
    config = "max_batch_size: 8 " + IN + OUT
    server = [f"com.microsoft:{operator}(-1) is not a registered function/op"] if fix else []
    assert said(tmp_path, file, config, triton=release) == server
    findings = check.validate(tmp_path, triton=release).findings
    assert [found.fix for found in findings if found.rule == "TRT624"] == [fix] * len(server)


@pytest.mark.parametrize("filling", [b"\0\0", b"\x08\0"])
def test_a_file_of_millions_of_fields_is_not_walked_to_its_end(
    filling: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked = []
    fields = onnxslim._fields
    monkeypatch.setattr(
        onnxslim, "_fields", lambda *a: (walked.append(None) or one for one in fields(*a))
    )
    monkeypatch.setattr(onnxslim, "_MOST", 100)
    content = filling * 1000
    assert onnxslim.without_weights(content) == content
    assert len(walked) <= 101


def test_a_data_type_may_be_a_number_without_a_name(tmp_path: Path) -> None:
    numbered = OUT.replace("TYPE_FP32", "32")
    assert said(tmp_path, content(), f"max_batch_size: 8 {IN}{numbered}") == [
        "unable to load model 'm', configuration expects datatype 32 for output 'y', "
        "model provides TYPE_FP32"
    ]

"""Ensembles over members whose tensors the server completes."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import helper

from trtbuild import check
from trtbuild.check import Finding, Options, Severity
from trtbuild.check.examples import OPENVINO_XML
from trtbuild_rules.readers.python.pysource import read_source

ENSEMBLE = """
platform: "ensemble"
max_batch_size: {batch}
input {{ name: "A" data_type: TYPE_FP32 dims: [ 4 ] }}
output {{ name: "B" data_type: TYPE_FP32 dims: [ 4 ] }}
ensemble_scheduling {{ step {{ model_name: "p" model_version: -1
  input_map {{ key: "IN" value: "A" }} output_map {{ key: "OUT" value: "B" }} }} }}
"""
CLASS = """
class TritonPythonModel:
{method}
    def execute(self, requests):
        return []
"""
IN = '{"name": "IN", "data_type": "TYPE_FP32", "dims": [4]}'
OUT = '{"name": "OUT", "data_type": "TYPE_FP32", "dims": [4]}'
MORE = IN.replace("IN", "MORE")
BOTH = f"c.add_input({IN})\nc.add_output({OUT})"


def completing(body: str, head: str = "@staticmethod", parameters: str = "c") -> str:
    lines = [head, f"def auto_complete_config({parameters}):"]
    lines += [f"    {line}" for line in [*body.splitlines(), "return c"]]
    return CLASS.format(method="\n".join(f"    {line}" for line in lines))


def write(root: Path, model: str, config: str | None = None, *, batch: int = 0) -> None:
    for path, text in {
        "e/1/.keep": "",
        "e/config.pbtxt": ENSEMBLE.format(batch=batch),
        "p/1/model.py": model,
        **({"p/config.pbtxt": config} if config is not None else {}),
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def errors(root: Path, *, auto_complete: bool = True) -> list[Finding]:
    report = check.validate_all([root], Options(auto_complete=auto_complete))
    return [one for one in report.findings if one.severity is Severity.ERROR]


FIELD = 'name: "{}" data_type: TYPE_FP32 dims: [ 4 ]'
SOUND = [
    BOTH,
    f"{BOTH}\nc.set_max_batch_size(8)\nc.set_dynamic_batching()",
    f"for one in [{IN}]:\n    c.add_input(one)\nc.add_output({OUT})",
    f"inputs = [{IN}]\nfor one in inputs:\n    c.add_input(one)\nc.add_output({OUT})",
    f"have = c.as_dict()\nnames = []\nfor i in have['input']:\n    names.append(i['name'])\n"
    f"for one in [{IN}]:\n    if one['name'] not in names:\n        c.add_input(one)\n"
    f"c.add_output({OUT})",
    # what cannot be known may be what the ensemble needs
    "helper(c)",
    "for one in CONFIG:\n    c.add_input(one)",
    "d = c.as_dict()\nd['input'].append(1)",
    "d = c.as_dict()\nhelper(d)",
    f"if condition():\n    c.add_input({IN})",
    "c.add_input(load())",
    "c = other(c)",
    "setattr(c, 'x', 1)",
    "return other(c)",
    # what is added where few look for it
    f"for one in []:\n    pass\nelse:\n    c.add_input({IN})\n    c.add_output({OUT})",
    f"return c.add_input({IN}) or c.add_output({OUT}) or c",
    f"(lambda: (c.add_input({IN}), c.add_output({OUT})))()",
    f"if c.add_input({IN}) or c.add_output({OUT}):\n    pass",
    # what may not be reached
    f"{BOTH}\nfor one in [{MORE}]:\n    if one['name'] == 'MORE':\n        break\n"
    "    c.add_input(one)",
    f"{BOTH}\nif 'gpu' not in MODE:\n    c.add_input({MORE})",
    f"{BOTH}\nwith quiet():\n    check()\n    c.add_input({MORE})",
    f"{BOTH}\ntry:\n    check()\n    c.add_input({MORE})\nexcept ValueError:\n    pass",
]


@pytest.mark.parametrize("config", [None, 'backend: "python" max_batch_size: 0'])
@pytest.mark.parametrize("body", SOUND)
def test_a_member_may_complete_itself(body: str, config: str | None, tmp_path: Path) -> None:
    write(tmp_path, completing(body), config)
    assert errors(tmp_path) == []


@pytest.mark.parametrize(
    ("body", "rule", "server"),
    [
        (BOTH.replace("IN", "X"), "TRT376", "is mapping to non-existing input IN in model p"),
        (BOTH.replace("OUT", "X"), "TRT376", "is mapped from non-existing output OUT in model p"),
        (f"{BOTH}\nc.add_input({MORE})", "TRT376", "input MORE in model p is not mapped"),
        (f"helper(c)\nc.add_input({MORE})", "TRT376", "input MORE in model p is not mapped"),
        (BOTH.replace("FP32", "INT64", 1), "TRT377", "inconsistent data type"),
        (f"helper(c)\n{BOTH.replace('[4]', '[5]')}", "TRT377", "inconsistent shape"),
        ("pass", "TRT376", "is mapping to non-existing input IN in model p"),
    ],
)
def test_what_is_known_to_be_added_is_judged(
    body: str, rule: str, server: str, tmp_path: Path
) -> None:
    write(tmp_path, completing(body))
    found = errors(tmp_path)
    assert {one.rule for one in found} == {rule}
    assert any(server in one.server_message for one in found)


@pytest.mark.parametrize(("size", "rules"), [(4, {"TRT375"}), (8, set()), (16, set())])
def test_the_batch_that_is_set_is_judged(size: int, rules: set[str], tmp_path: Path) -> None:
    write(tmp_path, completing(f"c.set_max_batch_size({size})\n{BOTH}"), batch=8)
    assert {one.rule for one in errors(tmp_path)} == rules


def test_a_member_that_completes_nothing_is_judged_as_it_is_written(tmp_path: Path) -> None:
    write(tmp_path, CLASS.format(method=""), 'backend: "python" max_batch_size: 0')
    assert {one.rule for one in errors(tmp_path)} == {"TRT376"}
    (tmp_path / "p/config.pbtxt").unlink()
    found = errors(tmp_path)  # the server loads p without tensors, and then refuses e
    assert {(one.model, one.rule) for one in found} == {("e", "TRT376")}


def test_a_server_that_completes_nothing_calls_no_method(tmp_path: Path) -> None:
    write(tmp_path, completing(BOTH), 'backend: "python" max_batch_size: 0')
    assert {one.rule for one in errors(tmp_path, auto_complete=False)} == {"TRT376"}


def test_a_member_without_its_file_still_has_its_tensors(tmp_path: Path) -> None:
    config = (
        'backend: "python" input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }'
        ' output { name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] }'
    )
    write(tmp_path, CLASS.format(method=""), config)
    (tmp_path / "p/1/model.py").unlink()
    found = errors(tmp_path, auto_complete=False)
    of_ensemble = {one.rule for one in found if one.model == "e"}
    assert of_ensemble == {"TRT373", "TRT376"}  # the file first, and the mapping in the same run
    assert {one.rule for one in found if one.model == "p"} == {"TRT751"}


@pytest.mark.parametrize("backend", ["tensorrt", "openvino", "dali", "vllm", "own_backend"])
def test_members_of_backends_that_complete(backend: str, tmp_path: Path) -> None:
    file = {"tensorrt": "model.plan", "openvino": "model.xml", "vllm": "model.json"}
    content = {"vllm": '{"model": "org/name"}', "openvino": OPENVINO_XML}.get(backend, "x")
    write(tmp_path, CLASS.format(method=""), f'backend: "{backend}"')
    (tmp_path / "p/1" / file.get(backend, "model.dali")).write_text(content)
    rules = {one.rule for one in errors(tmp_path)}
    assert not rules & {"TRT373", "TRT376", "TRT377"}


@pytest.mark.parametrize("backend", ["pytorch", "identity", "fil"])
def test_members_of_backends_that_do_not(backend: str, tmp_path: Path) -> None:
    tensor = "{{ name: {!r} data_type: TYPE_FP32 dims: [ 4 ] }}"
    config = f'backend: "{backend}" input {tensor.format("X")} output {tensor.format("OUT")}'
    write(tmp_path, CLASS.format(method=""), config.replace("'", '"'))
    for name in ("model.pt", "xgboost.model"):
        (tmp_path / "p/1" / name).write_text("x")
    # FIL also wants parameters, of which the ensemble's TRT373 tells
    assert {one.rule for one in errors(tmp_path)} - {"TRT651", "TRT373"} == {"TRT376"}


def test_a_tensorrt_model_that_names_its_tensors_has_no_others(tmp_path: Path) -> None:
    config = 'backend: "tensorrt" input { name: "X" } output { name: "OUT" }'
    write(tmp_path, CLASS.format(method=""), config)
    (tmp_path / "p/1/model.plan").write_text("x")
    found = errors(tmp_path)
    assert {one.rule for one in found} == {"TRT376"}
    assert len(found) == 2  # IN is not there, X is not mapped; types and shapes are not known


@pytest.mark.parametrize(("dims", "rules"), [([4], set()), ([5], {"TRT377"}), (["N", 4], set())])
def test_an_onnx_member_is_completed_from_its_file(
    dims: list[int | str], rules: set[str], tmp_path: Path
) -> None:
    write(tmp_path, CLASS.format(method=""), 'backend: "onnxruntime"')
    (tmp_path / "p/1/model.onnx").write_bytes(identity(dims))
    assert {one.rule for one in errors(tmp_path)} == rules


def identity(dims: list[int | str]) -> bytes:
    tensors = [helper.make_tensor_value_info(name, 1, dims) for name in ("IN", "OUT")]
    node = helper.make_node("Identity", ["IN"], ["OUT"])
    graph = helper.make_graph([node], "g", tensors[:1], tensors[1:])
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, ir_version=8, opset_imports=opsets)
    return bytes(model.SerializeToString())


def test_a_batch_that_the_server_fills_in_is_called_that(tmp_path: Path) -> None:
    write(tmp_path, CLASS.format(method=""), 'backend: "onnxruntime"', batch=8)
    (tmp_path / "p/1/model.onnx").write_bytes(identity(["N", 4]))
    found = [one.message for one in errors(tmp_path) if one.rule == "TRT375"]
    assert found == ["max_batch_size is 8, that of 'p' is 4, which the server fills in"]


@pytest.mark.parametrize(
    ("source", "completes"),
    [
        (CLASS.format(method=""), False),
        (CLASS.format(method="").replace("Model:", "Model(object):"), False),
        (CLASS.format(method="").replace("Model:", "Model(Base):"), True),
        (CLASS.format(method="") + "TritonPythonModel.auto_complete_config = f\n", True),
        (CLASS.format(method="    # auto_complete_config\n"), False),
        ("from base import TritonPythonModel\n", True),
        (completing("pass", "@classmethod", "cls, c"), True),
        (completing("pass", "@cached"), True),
    ],
)
def test_whether_a_model_completes(source: str, completes: bool) -> None:
    assert (read_source(source.encode()).completion is not None) is completes


def test_loops_without_an_end_are_left_open() -> None:
    many = list(range(1000))
    body = "\n".join(f"{'    ' * n}for x{n} in {many}:" for n in range(6)) + f"\n{'    ' * 6}pass"
    completion = read_source(completing(body).encode()).completion
    assert completion is not None
    assert (completion.whole, completion.batch) == (False, None)


ASKS = """
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    {method}
    def execute(self, requests):
        return [pb_utils.get_input_tensor_by_name(request, "IN") for request in requests]
"""


@pytest.mark.parametrize(
    ("method", "warned"),
    [("", True), (f"def auto_complete_config(c): c.add_input({IN}); return c", False),
     (f"def auto_complete_config(c): c.add_input({MORE}); return c", True),
     ("def auto_complete_config(c): return helper(c)", False)],
)  # fmt: skip
def test_a_tensor_that_is_asked_for_in_default_mode(
    method: str, warned: bool, tmp_path: Path
) -> None:
    tensor = '{ name: "X" data_type: TYPE_FP32 dims: [ 4 ] }'
    config = f'backend: "python" max_batch_size: 0 input {tensor} output {tensor}'
    write(tmp_path, ASKS.format(method=method), config)
    report = check.validate_all([tmp_path], Options(auto_complete=True))
    assert any(one.rule == "TRT605" for one in report.findings) is warned


@pytest.mark.parametrize(
    ("body", "rules"),
    [(BOTH, set()), ("pass", {"TRT402"}), (f"c.add_output({OUT})", {"TRT402"}), ("f(c)", set())],
)
def test_what_stays_incomplete_is_an_error(body: str, rules: set[str], tmp_path: Path) -> None:
    config = 'backend: "python" input { name: "IN" dims: 4 } output { name: "OUT" dims: 4 }'
    write(tmp_path, completing(body), config)
    assert {one.rule for one in errors(tmp_path) if one.model == "p"} == rules


def test_a_member_without_its_file_still_has_its_versions(tmp_path: Path) -> None:
    config = (
        f'backend: "python" input {{ {FIELD.format("IN")} }} output {{ {FIELD.format("OUT")} }}'
    )
    write(tmp_path, CLASS.format(method=""), config)
    (tmp_path / "p/1/model.py").unlink()
    ensemble = tmp_path / "e/config.pbtxt"
    ensemble.write_text(ensemble.read_text().replace("model_version: -1", "model_version: 2"))
    found = errors(tmp_path, auto_complete=False)
    assert {one.rule for one in found if one.model == "e"} == {"TRT373", "TRT374"}

"""What the Python backend refuses of auto_complete_config; asked of the server 2.51."""

from __future__ import annotations

from pathlib import Path

import pytest

from trtbuild import check
from trtbuild.check import Finding, Options

CLASS = """
class TritonPythonModel:
    {method}

    def execute(self, requests):
        return []
"""
STATIC = """@staticmethod
    def auto_complete_config(c):
        {body}"""
IO = 'input {{ name: "A" {} dims: [ 3 ] }} output {{ name: "B" data_type: TYPE_FP32 dims: [ 3 ] }}'
CONFIG = 'backend: "python" max_batch_size: 8 ' + IO.format("data_type: TYPE_FP32")


def refused(root: Path, method: str, config: str = "", **options: bool) -> list[Finding]:
    version = root / "m" / "1"
    version.mkdir(parents=True)
    version.joinpath("model.py").write_text(CLASS.format(method=method))
    if config:
        (root / "m" / "config.pbtxt").write_text(config)
    report = check.validate_all([root], Options(**({"auto_complete": True} | options)))
    return [one for one in report.findings if one.rule in ("TRT606", "TRT000")]


def body(*lines: str) -> str:
    return STATIC.format(body="\n        ".join(lines))


MORE = '"name": "X", "data_type": "TYPE_FP32"'
OTHERWISE = "{'name': 'A', 'data_type': 'TYPE_FP32', 'dims': [3], 'optional': True}"


@pytest.mark.parametrize(
    ("method", "says"),
    [
        (body(f"c.add_input({{{MORE}}})", "return c"), "is missing 'dims' property."),
        (body('c.add_input({"data_type": "TYPE_FP32"})', "return c"), "is missing 'name' prop"),
        (
            body(f'c.add_output({{{MORE}, "dims": [1], "optional": True}})', "return c"),
            "contains property other than 'name', 'data_type' and 'dims'.",
        ),
        (
            body(f'c.add_input({{{MORE}, "dims": [1], "allow_ragged_batch": True}})', "return c"),
            "contains property other than 'name', 'data_type', 'dims' and 'optional'.",
        ),
        (body(f'c.add_input({{{MORE}, "dims": [-2]}})', "return c"), "dimension must be integer"),
        (body(f'c.add_input({{{MORE}, "dims": []}})', "return c"), "must specify 'dims' for m"),
        (
            body('c.add_input({"name": "X", "data_type": "FP32", "dims": [1]})', "return c"),
            "model configuration is not provided for model 'm'",
        ),
        (
            body(
                'c.add_input({"name": "X", "data_type": "TYPE_INVALID", "dims": [1]})', "return c"
            ),
            "model input 'X' must specify 'data_type' for m",
        ),
        (body("c.set_max_batch_size(4)", "return c"), "specified max_batch_size 4"),
        (body(f'c.add_input({{{MORE}, "dims": [1]}})'), "must return a valid pb.ModelConfig"),
        (
            body(*(f'c.add_input({{{MORE}, "dims": [{n}]}})' for n in (1, 2)), "return c"),
            "the model expects dims [2] but the model configuration specifies dims [1]",
        ),
        (
            body(
                'c.add_input({"name": "A", "data_type": "TYPE_FP32", "dims": [3], '
                '"optional": True})',
                "return c",
            ),
            "the model expects optional True but the model configuration specifies optional False",
        ),
        (
            body(
                "for one in [{'name': 'X', 'dims': [1]}]:",
                "    if one['name'] not in str(c):",
                "        c.add_input(one)",
                "return c",
            ),
            "is missing 'data_type' property.",
        ),
        ("def auto_complete_config(self, c):\n        return c", "missing 1 required positional"),
        ("@staticmethod\n    def auto_complete_config():\n        return 1", "takes 0 positional"),
    ],
)
def test_it_is_refused(method: str, says: str, tmp_path: Path) -> None:
    (found,) = refused(tmp_path, method, CONFIG)
    assert says in found.server_message
    assert (found.rule, found.file) == ("TRT606", "m/1/model.py")


@pytest.mark.parametrize(
    "method",
    [
        body('base = {"data_type": "TYPE_FP32", "dims": [1]}', 'c.add_input({"name": "X", **base})',
             "return c"),
        body(*[f'c.add_input({{{MORE}, "dims": (1,), "optional": True}})'] * 2, "return c"),
        body("if c.as_dict()['input']:", "    return c", "raise ValueError('no input')"),
        body("def inner():", "    return None", "return inner() or c"),
        body("c.set_max_batch_size(16)", "c.set_dynamic_batching()", "return c"),
        "def auto_complete_config(c):\n        return c",
        "@classmethod\n    def auto_complete_config(cls, c):\n        return c",
        "@staticmethod\n    def auto_complete_config(*c):\n        return c[0]",
        "@wrapped\n    def auto_complete_config():\n        pass",
        # what it does not add where config.pbtxt has it
        body("has = [one['name'] for one in c.as_dict()['input']]",
             f"for one in [{OTHERWISE}]:", "    if one['name'] not in has:",
             "        c.add_input(one)", "return c"),
        body("has = [one['name'] for one in c.as_dict()['input']]",
             f"for one in [{OTHERWISE}]:", "    if one['name'] in has:", "        continue",
             "    c.add_input(one)", "return c"),
        body("if 'A' not in str(c):", "    c.add_input({'name': 'A'})", "return c"),
        body("if 'x' not in str(c):", "    c.set_max_batch_size(4)", "return c"),
        # what is another value by then
        body(f"one = {{{MORE}}}", "one['dims'] = [3]", "c.add_input(one)", "return c"),
        body(f"ones = [{{{MORE}}}]", "ones[0].update(dims=[3])", "c.add_input(ones[0])",
             "for one in ones:", "    c.add_input(one)", "return c"),
        body(f"for one in [{{{MORE}}}]:", "    one['dims'] = [3]", "    c.add_input(one)",
             "return c"),
        body(f"for one in [{{{MORE}}}]:", "    one = {**one, 'dims': [3]}", "    c.add_input(one)",
             "return c"),
        body("dims = []", "dims.append(3)", f"c.add_input({{{MORE}, 'dims': dims}})", "return c"),
        body("n = len('ab')", *[f"c.add_input({{{MORE}, 'dims': [{d}]}})" for d in ("n", "2")],
             "return c"),
        # what is not the backend's, or stops nothing
        body("d = Wrapped(c)", "c = d", "c.add_input({'name': 'X'})", "return d.config"),
        body("c.as_dict()['max_batch_size'] = 0", "c.set_max_batch_size(4)", "return c"),
        body("with quiet():", "    c.add_input({'name': 'X'})", "return c"),
        body("try:", "    c.add_input({'name': 'X'})", "except ValueError:", "    pass",
             "return c"),
        body("for one in [{'name': 'X'}]:", "    if one['name'] == 'X':", "        continue",
             "    c.add_input(one)", "return c"),
        body("for one in [{'name': 'Y', 'data_type': 'TYPE_FP32', 'dims': [1]}, {'name': 'X'}]:",
             "    c.add_input(one)", "    if stop():", "        return c", "return c"),
        body("c.add_input({'name': 'X'})", "yield c"),
        body("with suppress(ValueError):", "    c.add_input({'name': 'X'})", "return c"),
    ],
)  # fmt: skip
def test_it_is_accepted(method: str, tmp_path: Path) -> None:
    assert refused(tmp_path, method, CONFIG) == []


def test_dynamic_batching_beside_sequences(tmp_path: Path) -> None:
    method = body("c.set_dynamic_batching()", "return c")
    (found,) = refused(tmp_path, method, CONFIG + " sequence_batching {}")
    assert "tries to set scheduling_choice as 'dynamic_batching'" in found.server_message


def test_dynamic_batching_where_there_are_no_sequences(tmp_path: Path) -> None:
    method = body(
        "if 'sequence_batching' not in c.as_dict():", "    c.set_dynamic_batching()", "return c"
    )
    assert refused(tmp_path, method, CONFIG + " sequence_batching {}") == []


def test_nothing_is_called_where_nothing_is_completed(tmp_path: Path) -> None:
    assert refused(tmp_path, body("pass"), CONFIG, auto_complete=False) == []


@pytest.mark.parametrize(("caught", "severity"), [(False, "error"), (True, "warning")])
def test_another_type_stops_the_model_unless_its_exception_is_caught(
    caught: bool, severity: str, tmp_path: Path
) -> None:
    add = "c.add_input({'name': 'A', 'data_type': 'TYPE_INT64', 'dims': [3]})"
    tried = ("try:", f"    {add}", "except ValueError:", "    pass") if caught else (add,)
    assert refused(tmp_path, body(*tried, "return c"), CONFIG) == []
    report = check.validate_all([tmp_path], Options(auto_complete=True))
    (found,) = [one for one in report.findings if one.rule == "TRT604"]
    assert found.severity.value == severity

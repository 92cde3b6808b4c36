"""model.py is read, never run: what is found in it, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from trtbuild import check
from trtbuild.check import Example, Finding, write_example
from trtbuild_rules.readers.python.pysource import read_source

HEAD = "import triton_python_backend_utils as pb_utils\n\n"


def found(tmp_path: Path, source: str, rule: str, **more: bool) -> list[Finding]:
    write_example(Example(files={"m/1/model.py": source}), tmp_path)
    report = check.validate(tmp_path, **more)  # type: ignore[arg-type]
    return [finding for finding in report.findings if finding.rule == rule]


def test_nothing_of_it_runs(tmp_path: Path) -> None:
    source = f"open({str(tmp_path / 'ran')!r}, 'w')\nclass TritonPythonModel: ...\n"
    found(tmp_path, source, "TRT601")
    assert not (tmp_path / "ran").exists()


def test_the_place_of_a_mistake(tmp_path: Path) -> None:
    (one,) = found(
        tmp_path, "class TritonPythonModel:\n    def execute(self, requests)\n", "TRT601"
    )
    assert (one.file, one.line, one.column) == ("m/1/model.py", 2, 32)


@pytest.mark.parametrize(
    "source",
    [
        "from base import TritonPythonModel\n",
        "from base import *\n",
        "from base import Model as TritonPythonModel\n",
        "import base\nTritonPythonModel = base.Model\n",
        "try:\n    from a import TritonPythonModel\nexcept E:\n    TritonPythonModel = 1\n",
        "if True:\n    class TritonPythonModel: ...\n",
        "(TritonPythonModel := made())\n",
    ],
)
def test_a_class_from_elsewhere_counts(tmp_path: Path, source: str) -> None:
    assert found(tmp_path, source, "TRT602") == []
    assert not read_source(source.encode()).methods.get("execute")


@pytest.mark.parametrize(
    "source",
    [
        "class TritonPythonModel(Base): ...\n",
        "@made\nclass TritonPythonModel: ...\n",
        "class TritonPythonModel:\n    execute = other\n",
        "class TritonPythonModel:\n    def execute(self, *requests): ...\n",
        "class TritonPythonModel:\n    async def execute(self, requests): ...\n",
    ],
)
def test_execute_may_come_from_elsewhere(tmp_path: Path, source: str) -> None:
    assert found(tmp_path, source, "TRT603") == []


def test_what_only_a_program_runs_is_not_defined(tmp_path: Path) -> None:
    source = "if __name__ == '__main__':\n    class TritonPythonModel: ...\n"
    assert len(found(tmp_path, source, "TRT602")) == 1


def test_a_method_with_other_parameters(tmp_path: Path) -> None:
    source = (
        "class TritonPythonModel:\n    def execute(self): ...\n    def finalize(self, x): ...\n"
    )
    messages = [one.message for one in found(tmp_path, source, "TRT603")]
    assert messages[0].startswith("execute in 1/model.py takes 1 parameters")
    assert messages[1].startswith("finalize in 1/model.py takes 2 parameters")


@pytest.mark.parametrize(
    ("method", "said"),
    [  # what the server's Python backend said of each while it loaded the model
        ("initialize(self)", "TritonPythonModel.initialize() takes 1 positional"),
        ("initialize(self, args, more)", "TritonPythonModel.initialize() missing "),
        ("__init__(self, x)", "TritonPythonModel.__init__() missing "),
        ("initialize(self, args, more=1)", ""),
        ("initialize(self, *args)", ""),
        ("__init__(self, *, x=1)", ""),
    ],
)
def test_a_method_that_is_called_while_the_model_loads(
    tmp_path: Path, method: str, said: str
) -> None:
    source = f"class TritonPythonModel:\n    def {method}: ...\n    def execute(self, r): ...\n"
    errors = [
        one.server_message
        for one in found(tmp_path, source, "TRT603")
        if one.severity is check.Severity.ERROR
    ]
    assert errors == ([f"TypeError: {said}"] if said else [])


USES = """\
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def initialize(self, args):
        config = args["model_config"]
        {}
    def execute(self, requests): ...
"""
WRONG = 'pb_utils.get_output_config_by_name(config, "WRONG")'


@pytest.mark.parametrize(
    ("lines", "refused"),
    [  # as the server's Python backend loaded it, or refused it because None has no items
        (f'kind = {WRONG}["data_type"]', True),
        (f'self.out = {WRONG}; kind = self.out["data_type"]', True),
        (f'out = {WRONG}; kind = pb_utils.triton_string_to_numpy(out["data_type"])', True),
        (f"out = {WRONG}", False),
        (f'out = {WRONG}; out = {{"data_type": 1}}; kind = out["data_type"]', False),
        (f'out = {WRONG}; kind = out and out["data_type"]', False),
        (f'if args: return\n        kind = {WRONG}["data_type"]', False),
    ],
)
def test_a_tensor_that_initialize_needs(tmp_path: Path, lines: str, refused: bool) -> None:
    (one,) = found(tmp_path, USES.format(lines), "TRT605")
    assert (one.severity is check.Severity.ERROR) is refused


DECLARING = """\
OUT = {"name": "OUT", "data_type": "TYPE_FP32", "dims": [2]}


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        inputs = [{"name": "IN", "data_type": "TYPE_FP32", "dims": [1]}]
        for one in inputs:
            config.add_input(one)
        config.add_output(OUT)
        config.add_output({"name": name(), "data_type": "TYPE_FP32", "dims": [1]})

    def execute(self, requests): ...
"""


def test_a_declared_shape_by_its_constant(tmp_path: Path) -> None:
    (one,) = found(tmp_path, DECLARING, "TRT604")
    assert one.line == 10
    assert "has dims [2] in model.py and [1] in the file" in one.message
    assert "expects dims [2] but the model configuration specifies dims [1]" in one.server_message


def test_a_tensor_asked_by_a_variable_is_left_alone(tmp_path: Path) -> None:
    source = HEAD + (
        "class TritonPythonModel:\n    def execute(self, requests):\n"
        "        for name in ('a', 'b'):\n"
        "            pb_utils.get_input_tensor_by_name(requests[0], name)\n"
    )
    assert found(tmp_path, source, "TRT605") == []


@pytest.mark.parametrize(
    "content",
    [b"\x00", b"\xff\xfe", b"(" * 5000, b"-" * 50_000 + b"1", b"x=" + b"[" * 300 + b"]" * 300, b""],
)
def test_any_bytes_give_a_verdict(content: bytes) -> None:
    read_source(content)

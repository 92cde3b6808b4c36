"""What the live check decides before and besides its server."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from support.live_models import write_as, write_llm
from trtbuild import check, pbtxt, server
from trtbuild.check import Example, Finding, Report, Severity, all_rules
from trtbuild.cli.app import app
from trtbuild.pipeline import live
from trtbuild.probe import RULES
from trtbuild.probe.standins import stand_ins
from trtbuild.resources import template_dir


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    folder.mkdir()
    return folder


def error(rule: str, severity: Severity = Severity.ERROR) -> Finding:
    return Finding(rule, severity, "m", "", 0, 0, "", "", "")


@pytest.mark.parametrize(
    ("findings", "may"),
    [
        ((), True),
        ((error("TRT101"),), False),
        ((error("TRT101", Severity.WARNING),), True),
        ((error("TRT732"),), True),
        ((error("TRT732"), error("TRT202")), False),
    ],
)
def test_only_a_missing_engine_does_not_stop_it(findings: tuple[Finding, ...], may: bool) -> None:
    assert live.may_start(Report(findings)) is may


def test_its_rules_have_ids_of_their_own() -> None:
    ids = [rule.id for rule in RULES]
    assert len(set(ids)) == len(ids)
    assert not set(ids) & {rule.id for rule in all_rules()}
    assert all(rule.fix and rule.title for rule in RULES)


def test_the_command_explains_them() -> None:
    from trtbuild.errors import UsageError

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, ["rules", *words])

    one = run("TRT955").output.splitlines()
    assert one[0] == "TRT955 error   a request whose client left stops"
    assert one[1].startswith("  fix: call the decoupled model directly")
    assert len(json.loads(run("TRT95", "--json").output)) == len(RULES)
    assert json.loads(run("trt951", "--json").output)["id"] == "TRT951"
    assert isinstance(run("TRT999").exception, UsageError)


# ------------------------------------------------------------------------------- what stands in


def test_nothing_stands_in_for_what_is_here(repo: Path, tmp_path: Path) -> None:
    write_llm(repo, "writer")
    instead = stand_ins(server.read_contents(repo), tmp_path / "work")
    assert (instead.echo, instead.models, instead.view) == ((), {}, None)


@pytest.mark.parametrize(
    ("config", "backend"),
    [
        ('backend: "dali"', "dali"),
        ('platform: "tensorrt_plan"', "tensorrt"),
        ('platform: "pytorch_libtorch"', "pytorch"),
    ],
)
def test_a_missing_backend_is_an_echo(
    repo: Path, tmp_path: Path, config: str, backend: str
) -> None:
    write_as(repo, "vision", Example(config))
    instead = stand_ins(server.read_contents(repo), tmp_path / "work")
    assert instead.echo == (backend,)
    assert "an echo with its tensors stood in" in instead.models["vision"]


@pytest.mark.parametrize("config", ['backend: "onnxruntime"', 'platform: "onnxruntime_onnx"'])
def test_onnx_runtime_runs_the_graph_itself(repo: Path, tmp_path: Path, config: str) -> None:
    write_as(repo, "graph", Example(config))
    instead = stand_ins(server.read_contents(repo), tmp_path / "work")
    assert instead.echo == ()
    assert "the onnxruntime package on the CPU stood in" in instead.models["graph"]


def test_a_model_of_a_gpu_is_seen_without_it(repo: Path, tmp_path: Path) -> None:
    write_llm(repo, "writer", kind="KIND_GPU")
    write_llm(repo, "other")
    before = (repo / "writer" / "config.pbtxt").read_bytes()
    instead = stand_ins(server.read_contents(repo), tmp_path / "work")
    view = instead.view
    assert view is not None
    config = pbtxt.parse((view / "writer" / "config.pbtxt").read_text())
    assert [group.kind for group in config.instance_group] == [2]
    assert (view / "writer" / "1" / "model.py").is_file()
    assert (view / "other" / "config.pbtxt").is_symlink()
    assert check.validate(view, gpus=0).ok
    assert (repo / "writer" / "config.pbtxt").read_bytes() == before


# ------------------------------------------------------------------------------------- the echo


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The echo's module, with a stand-in for the backend's own."""
    dtypes = {"TYPE_FP32": np.float32, "TYPE_STRING": np.object_, "TYPE_INT64": np.int64}
    utils = ModuleType("triton_python_backend_utils")
    given: dict[str, Any] = {
        "TRITONSERVER_RESPONSE_COMPLETE_FINAL": 1,
        "triton_string_to_numpy": dtypes.__getitem__,
        "get_input_tensor_by_name": lambda request, name: request.tensors.get(name),
        "Tensor": lambda name, array: SimpleNamespace(name=name, array=array),
        "InferenceResponse": lambda tensors: SimpleNamespace(tensors=tensors),
    }
    for name, value in given.items():
        setattr(utils, name, value)
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utils)
    path = template_dir("standins") / "echo" / "model.py"
    spec = importlib.util.spec_from_file_location("echo_model", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.TritonPythonModel()


class Request:
    def __init__(self, **arrays: Any) -> None:
        self.tensors = {
            name: SimpleNamespace(as_numpy=lambda array=array: array)
            for name, array in arrays.items()
        }
        self.sent: list[tuple[Any, int]] = []

    def requested_output_names(self) -> list[str]:
        return ["SAME", "TEXT", "COUNT"]

    def get_response_sender(self) -> Any:
        return SimpleNamespace(send=lambda response, flags: self.sent.append((response, flags)))


CONFIG = {
    "max_batch_size": 4,
    "input": [{"name": "IN"}],
    "output": [
        {"name": "SAME", "data_type": "TYPE_FP32", "dims": ["3"]},
        {"name": "TEXT", "data_type": "TYPE_STRING", "dims": ["-1"]},
        {"name": "COUNT", "data_type": "TYPE_INT64", "dims": ["2", "-1"]},
        {"name": "UNASKED", "data_type": "TYPE_INT64", "dims": ["1"]},
    ],
}


def test_the_echo_has_the_tensors_of_the_configuration(echo: Any) -> None:
    echo.initialize({"model_config": json.dumps(CONFIG)})
    given = np.arange(6, dtype=np.float32).reshape(2, 3)
    (response,) = echo.execute([Request(IN=given)])
    found = {tensor.name: tensor.array for tensor in response.tensors}
    assert list(found) == ["SAME", "TEXT", "COUNT"]
    assert (found["SAME"] == given).all()
    assert found["TEXT"].tolist() == [[b""], [b""]]
    assert found["COUNT"].shape == (2, 2, 1)


def test_the_echo_of_a_decoupled_model_answers_once(echo: Any) -> None:
    policy = {"model_transaction_policy": {"decoupled": True}, "max_batch_size": 0}
    echo.initialize({"model_config": json.dumps({**CONFIG, **policy})})
    request = Request(IN=np.zeros(3, np.float32))
    assert echo.execute([request]) is None
    assert [flags for _, flags in request.sent] == [1]

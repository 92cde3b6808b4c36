"""What Triton's Python backend gives a model, as far as ours use it."""

from __future__ import annotations

import gc
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import Mock, patch

import numpy as np

NAME = "triton_python_backend_utils"
GUARDS = ("llmapi_guard", "standin_guard")


def no_guard() -> Any:
    """For the copies of the guard beside our models: one that starts no shell."""
    return SimpleNamespace(Guard=lambda: SimpleNamespace(noting=nullcontext))


class Tensor:
    """A named array."""

    def __init__(self, name: str, array: np.ndarray) -> None:
        self._name = name
        self._array = array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._array


class TritonError:
    """An error with a code."""

    INVALID_ARG, INTERNAL, CANCELLED = "INVALID_ARG", "INTERNAL", "CANCELLED"
    UNAVAILABLE = "UNAVAILABLE"

    def __init__(self, message: str, code: str = INTERNAL) -> None:
        self.message = message
        self.code = code


class Response:
    """A response of Triton before 25.02; :class:`Labelled` is one of later releases."""

    def __init__(self, output_tensors: Any = (), error: Any = None) -> None:
        self.outputs = {tensor.name(): tensor.as_numpy() for tensor in output_tensors}
        self.error = error


class Labelled(Response):
    """A response that takes parameters."""

    def __init__(self, output_tensors: Any = (), error: Any = None, parameters: Any = None) -> None:
        super().__init__(output_tensors, error)
        self.parameters = parameters


class Request:
    """A request with these inputs, arrays or plain values of one row."""

    def __init__(self, request_id: str = "", correlation_id: int = 0, **inputs: Any) -> None:
        self._id = request_id
        self._correlation = correlation_id
        self._inputs = [Tensor(name, _row(value)) for name, value in inputs.items()]

    def inputs(self) -> list[Tensor]:
        return self._inputs

    def request_id(self) -> str:
        return self._id

    def correlation_id(self) -> int:
        return self._correlation


def _row(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    text = isinstance(value, str)
    return np.array([[value.encode() if text else value]], dtype=np.object_ if text else None)


def call_with(run: Any) -> type:
    """A class for ``InferenceRequest`` whose ``exec`` asks ``run(model_name, arrays)``."""

    class InferenceRequest:
        def __init__(self, model_name: str, inputs: Any, **_: Any) -> None:
            self._asked = (model_name, {tensor.name(): tensor.as_numpy() for tensor in inputs})

        def exec(self) -> Any:
            found = run(*self._asked)
            return SimpleNamespace(
                has_error=lambda: isinstance(found, str),
                error=lambda: SimpleNamespace(message=lambda: found),
                outputs=found,
            )

    return InferenceRequest


@contextmanager
def loaded(path: Path, *folders: Path, labels: bool) -> Iterator[ModuleType]:
    """The module of a ``model.py``; ``labels``: responses take parameters.

    It collects no garbage: it would look at every collected test, most of a second each time.
    """
    fake = ModuleType(NAME)
    quiet = SimpleNamespace(log_error=print, log_info=print, log_warn=print)
    for name, value in {
        "Tensor": Tensor,
        "TritonError": TritonError,
        "InferenceResponse": Labelled if labels else Response,
        "TritonModelException": type("TritonModelException", (Exception,), {}),
        "TRITONSERVER_RESPONSE_COMPLETE_FINAL": 1,
        "Logger": quiet,
    }.items():
        setattr(fake, name, value)
    before = list(sys.path)
    sys.modules |= {NAME: fake, **dict.fromkeys(GUARDS, no_guard())}
    sys.path[:0] = map(str, folders)
    try:
        spec = importlib.util.spec_from_file_location(f"model_{path.parent.name}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        idle = dict.fromkeys(("collect", "freeze", "unfreeze"), Mock())
        with patch.multiple(gc, **idle):
            yield module
    finally:
        sys.path[:] = before
        for name in (NAME, *GUARDS):
            sys.modules.pop(name, None)

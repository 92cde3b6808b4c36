"""The ONNX Runtime of each Triton release (``data/onnxruntime.toml``), and what it reads."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from typing import Any

from trtbuild.resources import data_file


@dataclass(frozen=True, slots=True)
class OnnxRuntime:
    """A version, and the highest IR version and opsets (standard, ``ai.onnx.ml``) that it reads."""

    version: str
    ir: int
    opset: int
    ml: int


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(data_file("onnxruntime.toml").read_text(encoding="utf-8"))


def onnx_runtime(release: str) -> OnnxRuntime | None:
    """Return that of a Triton release (``YY.MM``), None if unknown."""
    table = _table()
    version = table["releases"].get(release)
    return OnnxRuntime(version, **table["limits"][version]) if version else None


def onnx_runtimes() -> dict[str, str]:
    """Return the version of ONNX Runtime by Triton release, oldest first."""
    return dict(sorted(_table()["releases"].items()))


def onnx_operators(kind: str) -> frozenset[str]:
    """Return operators of the standard domain that only ONNX Runtime has: ``own``, or
    ``tensorrt``, which run only with TensorRT."""
    return frozenset(_table()["operators"][kind])


def onnx_contrib(operator: str) -> str:
    """Return the first ONNX Runtime with an operator of ``com.microsoft``, empty if none has it."""
    table = _table()["contrib"]
    return next((version for version, names in table.items() if operator in names), "")


def onnx_accelerators(kind: str) -> tuple[str, ...]:
    """Return the execution accelerators of the backend (``gpu``, ``cpu``), the parameters of
    ``tensorrt`` or its values of ``precision_mode``."""
    return tuple(_table()["accelerators"][kind])

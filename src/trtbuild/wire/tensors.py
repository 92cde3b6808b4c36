"""Tensors as plain values, used by request schemas and encoded by protocols."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Parameter = bool | int | float | str


class TensorError(ValueError):
    """Data that does not fit its tensor, or an invalid message."""


class TensorValue(NamedTuple):
    """One tensor of a request or of a response.

    Attributes:
        name: Its name.
        datatype: As KServe's protocol spells it: ``BYTES``, ``BOOL``, ``INT32``, ``FP32``; empty
            in a response of Triton's generate endpoint, which does not report it.
        shape: With the batch dimension.
        data: Its elements in row-major order, without nesting. Those of ``BYTES`` are text, which
            is sent as UTF-8, or bytes; a response over gRPC or the infer endpoint has bytes.
            Numbers of a response may be a :class:`memoryview`, which NumPy takes without a copy:
            ``np.asarray(data).reshape(shape)``.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Sequence[Any]

    @property
    def texts(self) -> list[str]:
        """Return each element as text; bytes that are not UTF-8 become U+FFFD."""
        return [
            element.decode("utf-8", "replace") if isinstance(element, bytes) else str(element)
            for element in self.data
        ]

    def checked(self) -> TensorValue:
        """Return self; TensorError unless ``data`` matches ``shape``."""
        if math.prod(self.shape) != len(self.data):
            sizes = list(self.shape)
            raise TensorError(f"{self.name!r}: {len(self.data)} elements for shape {sizes}")
        return self


_NONE: Mapping[str, Parameter] = {}

Outputs = Mapping[str, TensorValue]
"""The tensors of one response by name. A protocol may decode one only when it is looked up."""


@dataclass(frozen=True, slots=True)
class InferRequest:
    """One request to a model.

    Attributes:
        inputs: The input tensors.
        parameters: KServe's: ``sequence_id``, ``priority``, ``timeout`` (microseconds)…
        outputs: Names of the requested outputs; empty: all.
        id: Returned with each response.
    """

    inputs: tuple[TensorValue, ...]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    id: str = ""


class InferResponse(NamedTuple):
    """One response; a decoupled model sends any number of them, some without outputs."""

    outputs: Outputs
    parameters: Mapping[str, Parameter] = _NONE
    model: str = ""
    version: str = ""
    id: str = ""

    @property
    def final(self) -> bool:
        """Whether the server marks it as the last response."""
        return bool(self.parameters.get("triton_final_response", False))

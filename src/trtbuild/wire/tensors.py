"""Tensors as plain values: what a request schema writes and reads, and a protocol encodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Parameter = bool | int | float | str


class TensorValue(NamedTuple):
    """One tensor of a request or of a response.

    Attributes:
        name: Its name.
        datatype: As KServe's protocol spells it: ``BYTES``, ``BOOL``, ``INT32``, ``FP32``; empty
            in a response whose protocol does not tell (Triton's generate endpoint).
        shape: With the batch dimension.
        data: Its elements in row-major order, without nesting. Those of ``BYTES`` are text, which
            is sent as UTF-8, or bytes.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Sequence[Any]


Outputs = Mapping[str, TensorValue]
"""The tensors of one response by name. A protocol may decode one only when it is looked up."""


@dataclass(frozen=True, slots=True)
class InferRequest:
    """One request to a model: its input tensors and KServe's request parameters."""

    inputs: tuple[TensorValue, ...]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

"""The parts of a conversion: stored tensors, rectangles of them, and the target files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""Our names of the types that can be written, and those of safetensors."""

WIDTH = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Bytes an element of the types that can be read."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor of the source: its file and the offset of its bytes."""

    dtype: str
    shape: tuple[int, ...]
    path: Path
    begin: int

    @property
    def rows(self) -> int:
        """Extent of the first dimension (1 for a scalar)."""
        return self.shape[0] if self.shape else 1

    @property
    def columns(self) -> int:
        """Elements in one row: 1 for a vector."""
        return math.prod(self.shape[1:])


@dataclass(frozen=True, slots=True)
class Piece:
    """A rectangle of a stored tensor, written row after row into a target.

    Attributes:
        source: Name of the stored tensor.
        rows: ``(begin, end)`` of its rows.
        columns: ``(begin, end)`` within a row.
        at: Element of the target where the first row begins.
        transposed: The target gets the rectangle's transpose instead.
    """

    source: str
    rows: tuple[int, int]
    columns: tuple[int, int]
    at: int
    transposed: bool = False


Blocks = Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class TargetTensor:
    """A tensor to write. Elements that no piece covers are zero (the vocabulary's padding).

    Attributes:
        plus: Added to every element before the cast (Gemma stores its norms less one).
        blocks: Yields its bytes, in order, if they come from no stored tensor (tables of sines
            and cosines).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...] = ()
    plus: float = 0.0
    blocks: Blocks | None = field(default=None, repr=False, compare=False)

    @property
    def size(self) -> int:
        """Bytes as written."""
        return math.prod(self.shape) * WIDTH[self.dtype]


@dataclass(frozen=True, slots=True)
class RankFile:
    """``rank{N}.safetensors``: its tensors in the order of the file."""

    name: str
    targets: tuple[TargetTensor, ...]


@dataclass(frozen=True, slots=True)
class CheckpointPlan:
    """A TensorRT-LLM checkpoint before it is written."""

    config: Mapping[str, Any]
    ranks: tuple[RankFile, ...]
    sources: Mapping[str, Stored]

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(target.size for rank in self.ranks for target in rank.targets)


@dataclass(frozen=True, slots=True)
class WrittenCheckpoint:
    """What was written: bytes by file name, tensors, seconds."""

    files: Mapping[str, int]
    tensors: int
    seconds: float

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self.files.values())

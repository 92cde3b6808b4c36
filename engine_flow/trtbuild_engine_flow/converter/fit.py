"""Whether a stored tensor has the shape that ``config.json`` implies, as far as a row defines it.

A tensor that does not fit could be converted, but ``trtllm-build`` would reject the checkpoint on
the GPU machine. Heads are checked where they are split (:mod:`splits`).
"""

from __future__ import annotations

from trtbuild_engine_flow.converter.families import Row
from trtbuild_engine_flow.converter.model import Stored
from trtbuild_engine_flow.converter.shape import Shape

Extent = int | None
"""Features that a tensor must have; None for any number."""


def misfit(row: Row, part: str, stored: Stored, shape: Shape, transposed: bool) -> str:
    """Return what is wrong with a source of ``row``, ``""`` if it fits."""
    out, inputs = _implied(row, shape)
    implied: tuple[Extent, ...] = (out, inputs)
    if part == "bias":
        implied = (out,)
    elif _is_norm(row):
        implied = (inputs,)
    elif transposed and row.split not in ("whole", "vocab"):
        implied = (inputs, out)
    pairs = zip(implied, stored.shape, strict=False)
    if len(stored.shape) == len(implied) and all(want in (None, got) for want, got in pairs):
        return ""
    wanted = ", ".join("…" if extent is None else str(extent) for extent in implied)
    return f"is {list(stored.shape)}, but config.json implies [{wanted}]"


def _implied(row: Row, shape: Shape) -> tuple[Extent, Extent]:
    """Return output and input features of a matrix, or of a bias's matrix."""
    name = row.target.split(".")
    if name[-1] == "position_embedding":
        return shape.positions, shape.hidden
    if row.split == "vocab" or name[-1] == "vocab_embedding":
        return shape.vocab, shape.hidden
    if row.split in ("rows", "experts_rows"):
        return shape.hidden, _inputs(name, shape)
    out = {"columns": shape.inner, "swapped": 2 * shape.inner}.get(row.split)
    return shape.hidden if _is_norm(row) else out, shape.hidden


def _inputs(name: list[str], shape: Shape) -> Extent:
    """Of a matrix that is added to the residual."""
    if name[-2] == "attention":
        return shape.heads * shape.head_size
    return None if shape.experts else shape.inner  # experts have sizes of their own


def _is_norm(row: Row) -> bool:
    return row.split == "whole" and row.target.endswith(("layernorm", "ln_f"))

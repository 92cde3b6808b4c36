"""Triton's backends (``data/backends.toml``): the files they open, what they complete."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from trtbuild.resources import data_file
from trtbuild.toolchain import load, newest, releases


@dataclass(frozen=True, slots=True)
class Backend:
    """One row; see the head of the table."""

    source: str
    completes: Literal["yes", "missing", "python", "no"]
    files: tuple[str, ...] = ()
    by: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    directory: Literal["", "holds", "is"] = ""
    holds: str = ""
    per_gpu: bool = False
    says: str = ""
    says_completing: str = ""
    until: str = ""


@cache
def backends() -> Mapping[str, Backend]:
    """Return all backends by name."""
    table = tomllib.loads(data_file("backends.toml").read_text(encoding="utf-8"))
    return {name: _backend(row) for name, row in table["backend"].items()}


def _backend(row: dict[str, Any]) -> Backend:
    lists: dict[str, Any] = {key: tuple(row[key]) for key in ("files", "also") if key in row}
    by = {
        field: {value: tuple(names) for value, names in values.items()}
        for field, values in row.get("by", {}).items()
    }
    return Backend(**(row | lists | {"by": by}))


def last_with(backend: str, release: str = "") -> str | None:
    """Return the last Triton release up to ``release`` (empty: the newest) whose images have a
    backend: ``release`` itself if they have it, None if no known release has."""
    row = backends().get(backend)
    if row is None:
        return None
    for toolchain in releases():
        if release and toolchain.triton > release:
            continue
        has = {"vllm": toolchain.vllm, "tensorrtllm": toolchain.trtllm}.get(backend, "yes")
        if has and (not row.until or toolchain.triton <= row.until):
            return toolchain.triton
    return None


def has_backend(backend: str, release: str = "") -> bool:
    """Whether an image of a Triton release (empty: the newest) has a backend."""
    triton = load(release).triton if release else newest().triton
    return last_with(backend, triton) == triton

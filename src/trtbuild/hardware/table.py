"""The table of GPUs (``data/gpus.toml``)."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from trtbuild.errors import UsageError
from trtbuild.resources import data_file


@dataclass(frozen=True, slots=True)
class GpuInfo:
    """One GPU model.

    Attributes:
        name: How people write it on the command line, such as ``a100-80``.
        title: How to show it.
        aliases: Other ways to write it.
        match: What the driver's name of it contains.
        memory_bytes: Total as the driver reports it.
        bandwidth_bytes: Memory bandwidth, bytes a second.
        sm: Compute capability without the dot (89 is 8.9).
        nvlink: How several are joined by NVLink: ``board`` (always), ``bridge`` (an optional part
            between two cards), ``none``.
        tflops: Dense tensor-core TFLOPS by type.
        source: Where the figures are from, and which of them were not verified.
        cuda_since: The CUDA that first compiles for it; empty if every release's does.
        cuda_until: The first CUDA that no longer does; empty if there is none.
    """

    name: str
    title: str
    aliases: tuple[str, ...]
    match: tuple[str, ...]
    memory_bytes: int
    bandwidth_bytes: int
    sm: int
    nvlink: Literal["board", "bridge", "none"]
    tflops: Mapping[str, float]
    source: str
    cuda_since: str = ""
    cuda_until: str = ""


@dataclass(frozen=True, slots=True)
class GpuTarget:
    """The GPUs that a model is to run on; ``gpu`` is None when none in particular is meant."""

    gpu: GpuInfo | None = None
    count: int = 1

    @property
    def sm(self) -> int:
        """The compute capability without the dot, 0 when unknown."""
        return self.gpu.sm if self.gpu else 0


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(data_file("gpus.toml").read_text(encoding="utf-8"))


def native_from(quantization: str) -> int:
    """The least compute capability that computes in a quantization's own type, 0 if unknown."""
    return int(_table()["native_from"].get(quantization, 0))


@cache
def gpus() -> tuple[GpuInfo, ...]:
    """All GPUs known, smallest memory first."""
    return tuple(sorted(map(_row, _table()["gpu"]), key=lambda g: (g.memory_bytes, g.name)))


def _row(row: dict[str, Any]) -> GpuInfo:
    return GpuInfo(
        name=row["name"],
        title=row["title"],
        aliases=tuple(row["aliases"]),
        match=tuple(row["match"]),
        memory_bytes=row["memory_mib"] * 2**20,
        bandwidth_bytes=row["bandwidth_gb_s"] * 10**9,
        sm=row["sm"],
        nvlink=row["nvlink"],
        tflops=row["tflops"],
        source=row["source"],
        **_table()["capability"].get(str(row["sm"]), {}),
    )


def gpu(name: str) -> GpuInfo:
    """The GPU called ``name`` (case, spaces and underscores do not matter).

    Raises:
        UsageError: There is none; it names the nearest and lists all.
    """
    wanted = re.sub(r"[\s_]+", "-", name.strip().lower())
    for info in gpus():
        if wanted in (info.name, *info.aliases):
            return info
    every = [alias for info in gpus() for alias in (info.name, *info.aliases)]
    close = difflib.get_close_matches(wanted, every, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    known = ", ".join(sorted(info.name for info in gpus()))
    raise UsageError(f"unknown GPU {name!r}", fix=f"{hint}use one of {known} (--gpu NAME)")


def recognise(driver_name: str) -> GpuInfo | None:
    """The table's row for a name such as ``NVIDIA A100-SXM4-80GB``; the longest match wins.

    None for a relative with another memory: a laptop's GPU, a slice such as ``NVIDIA A40-24Q``.
    """
    found = [
        (len(pattern), info)
        for info in gpus()
        for pattern in info.match
        if re.search(rf"(?<![\w-]){re.escape(pattern)}(?![\w-]| Laptop)", driver_name)
    ]
    return max(found, key=lambda pair: pair[0])[1] if found else None

"""The memory of a model that runs in batches: weights and one batch; it has no KV cache."""

from __future__ import annotations

from collections.abc import Sequence

from trtbuild import hardware
from trtbuild.builder import Case
from trtbuild.plan import GpuNeed, MemoryPlan, MemoryRow

CONTEXT = 1 << 29
"""A CUDA context with the libraries of one process."""
IMAGE_TOKENS = 1024
"""Of a large image model: 448 x 448 in patches of 14."""
_USABLE = 0.9
LIVE = 12
"""Hidden-sized numbers of a token that live at once: MLP, attention, residuals."""


def per_token(case: Case) -> int:
    """Return the numbers of one token that live at once."""
    return LIVE * max(case.spec.hidden_size, 256)


def planned(case: Case, rows: Sequence[MemoryRow], *, at_once: int, length: int) -> MemoryPlan:
    """Return the plan of these rows, for the target's GPU or for every known one.

    Args:
        case: The checkpoint and the target.
        rows: The bytes on one GPU.
        at_once: How many sequences it then takes.
        length: Tokens of each.
    """
    needed, gpu = sum(row.bytes for row in rows), case.target.gpu
    usable = int(gpu.memory_bytes * _USABLE) if gpu else 0
    fitting = [one for one in hardware.gpus() if needed <= one.memory_bytes * _USABLE]
    least = min(fitting, key=lambda one: one.memory_bytes, default=None)
    smallest = f"the smallest known GPU that holds it is {least.title}" if least else ""
    return MemoryPlan(
        gpu=gpu.name if gpu else "",
        gpus=case.target.count if gpu else 0,
        capacity_bytes=gpu.memory_bytes if gpu else 0,
        usable_bytes=usable,
        rows=tuple(rows),
        concurrency=at_once,
        length=length,
        fits=needed <= usable if gpu else None,
        max_concurrency=at_once if gpu and needed <= usable else 0,
        nearest="" if gpu and needed <= usable else smallest or "no known GPU holds it",
        needs=()
        if gpu
        else tuple(GpuNeed(one.name, one.title, one.memory_bytes, 1, at_once) for one in fitting),
    )

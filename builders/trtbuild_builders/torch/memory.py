"""The memory that a model takes on a GPU: weights and one batch; there is no KV cache to plan."""

from __future__ import annotations

from collections.abc import Iterator

from trtbuild import hardware
from trtbuild.builder import Case
from trtbuild.plan import Demand, GpuNeed, MemoryPlan, MemoryRow
from trtbuild_builders.text.settings import head_of
from trtbuild_builders.torch.settings import engine, kind_of

_CONTEXT = 1 << 29  # a CUDA context with PyTorch's libraries, of each instance
_USABLE = 0.9
_LIVE = 12  # hidden-sized numbers of a token that live at once: MLP, attention, residuals
_IMAGE_TOKENS = 1024  # of a large image model: 448 x 448 in patches of 14
_WINDOW_FRAMES = 1500  # of Whisper's encoder
_WINDOW_TOKENS = 448  # of its decoder


def memory_plan(case: Case, demand: Demand) -> MemoryPlan:
    """Return the estimate, for the target's GPU or for every known one."""
    rows = tuple(_rows(case))
    needed = sum(row.bytes for row in rows)
    chosen, gpu = engine(case), case.target.gpu
    at_once = demand.concurrency or chosen["max_batch_size"] * chosen["instances"]
    length = demand.length or head_of(case).max_tokens or _WINDOW_TOKENS
    usable = int(gpu.memory_bytes * _USABLE) if gpu else 0
    fitting = [one for one in hardware.gpus() if needed <= one.memory_bytes * _USABLE]
    least = min(fitting, key=lambda one: one.memory_bytes, default=None)
    smallest = f"the smallest known GPU that holds it is {least.title}" if least else ""
    return MemoryPlan(
        gpu=gpu.name if gpu else "",
        gpus=case.target.count if gpu else 0,
        capacity_bytes=gpu.memory_bytes if gpu else 0,
        usable_bytes=usable,
        rows=rows,
        concurrency=at_once,
        length=length,
        fits=needed <= usable if gpu else None,
        max_concurrency=at_once if gpu and needed <= usable else 0,
        nearest="" if gpu and needed <= usable else smallest or "no known GPU holds it",
        needs=()
        if gpu
        else tuple(GpuNeed(one.name, one.title, one.memory_bytes, 1, at_once) for one in fitting),
    )


def _rows(case: Case) -> Iterator[MemoryRow]:
    spec, chosen = case.spec, engine(case)
    size = 4 if chosen["dtype"] == "float32" else 2
    count = chosen["instances"]
    each = f", in each of {count} instances" if count > 1 else ""
    note = f"{spec.parameters:,} parameters in {chosen['dtype']}{each}"
    yield MemoryRow("weights", spec.parameters * size * count, note)
    tokens, what = _tokens(case)
    live = tokens * _per_token(case) * size * count
    yield MemoryRow("activations", live, f"a batch of {what}{each}")
    yield MemoryRow("CUDA context", _CONTEXT * count, each.removeprefix(", "))


def _per_token(case: Case) -> int:
    return _LIVE * max(case.spec.hidden_size, 256)


def _tokens(case: Case) -> tuple[int, str]:
    chosen, kind = engine(case), kind_of(case)
    if kind == "texts":
        longest = max(chosen["token_budget"], head_of(case).max_tokens)
        return longest, f"{longest:,} tokens"
    items = chosen["batch_size"]
    if kind == "images":
        return items * _IMAGE_TOKENS, f"{items} images"
    # The decoder keeps keys and values of both attentions, for one batch of windows.
    kept = case.spec.num_layers * 2 * (_WINDOW_FRAMES + _WINDOW_TOKENS) // _LIVE
    return items * (_WINDOW_FRAMES + kept), f"{items} windows of 30 s, with the decoder's cache"

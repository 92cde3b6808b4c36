"""The memory that a model takes on a GPU: weights and one batch; there is no KV cache to plan."""

from __future__ import annotations

from collections.abc import Iterator

from trtbuild.builder import Case
from trtbuild.plan import Demand, MemoryPlan, MemoryRow
from trtbuild_builders.text.memory import CONTEXT, IMAGE_TOKENS, LIVE, per_token, planned
from trtbuild_builders.text.settings import head_of
from trtbuild_builders.torch.settings import engine, kind_of

_WINDOW_FRAMES = 1500  # of Whisper's encoder
_WINDOW_TOKENS = 448  # of its decoder


def memory_plan(case: Case, demand: Demand) -> MemoryPlan:
    """Return the estimate, for the target's GPU or for every known one."""
    chosen = engine(case)
    return planned(
        case,
        tuple(_rows(case)),
        at_once=demand.concurrency or chosen["max_batch_size"] * chosen["instances"],
        length=demand.length or head_of(case).max_tokens or _WINDOW_TOKENS,
    )


def _rows(case: Case) -> Iterator[MemoryRow]:
    spec, chosen = case.spec, engine(case)
    size = 4 if chosen["dtype"] == "float32" else 2
    count = chosen["instances"]
    each = f", in each of {count} instances" if count > 1 else ""
    note = f"{spec.parameters:,} parameters in {chosen['dtype']}{each}"
    yield MemoryRow("weights", spec.parameters * size * count, note)
    tokens, what = _tokens(case)
    live = tokens * per_token(case) * size * count
    yield MemoryRow("activations", live, f"a batch of {what}{each}")
    yield MemoryRow("CUDA context", CONTEXT * count, each.removeprefix(", "))


def _tokens(case: Case) -> tuple[int, str]:
    chosen, kind = engine(case), kind_of(case)
    if kind == "texts":
        longest = max(chosen["token_budget"], head_of(case).max_tokens)
        return longest, f"{longest:,} tokens"
    items = chosen["batch_size"]
    if kind == "images":
        return items * IMAGE_TOKENS, f"{items} images"
    # The decoder keeps keys and values of both attentions, for one batch of windows.
    kept = case.spec.num_layers * 2 * (_WINDOW_FRAMES + _WINDOW_TOKENS) // LIVE
    return items * (_WINDOW_FRAMES + kept), f"{items} windows of 30 s, with the decoder's cache"

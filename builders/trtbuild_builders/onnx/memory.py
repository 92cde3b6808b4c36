"""The memory that a graph takes on a GPU."""

from __future__ import annotations

from collections.abc import Iterator

from trtbuild.builder import Case
from trtbuild.plan import Demand, MemoryPlan, MemoryRow
from trtbuild_builders.onnx.settings import engine, is_images, rows
from trtbuild_builders.text.memory import CONTEXT, IMAGE_TOKENS, per_token, planned
from trtbuild_builders.text.settings import head_of

_BYTES = {"": 4, "fp16": 2, "int8": 1}
_NAMES = {"": "float32", "fp16": "float16", "int8": "int8, embeddings in float32"}
_LONG = 512  # tokens of an input whose length is not known


def memory_plan(case: Case, demand: Demand) -> MemoryPlan:
    """Return the estimate. Raises RecipeError for an invalid setting."""
    chosen, head = engine(case), head_of(case)
    return planned(
        case,
        tuple(_rows(case)),
        at_once=demand.concurrency or chosen["max_batch_size"],
        length=demand.length or head.max_tokens or _LONG,
    )


def _rows(case: Case) -> Iterator[MemoryRow]:
    spec, chosen = case.spec, engine(case)
    quantized = chosen["quantize"]
    embeddings = min(spec.vocab_size * spec.hidden_size, spec.parameters)
    wide = embeddings if quantized == "int8" else 0
    weights = wide * 4 + (spec.parameters - wide) * _BYTES[quantized]
    yield MemoryRow(
        "weights",
        weights or spec.weight_bytes,
        f"{spec.parameters:,} parameters in {_NAMES[quantized]}" if weights else "as stored",
    )
    size = 2 if quantized == "fp16" else 4
    if is_images(case):
        longest = IMAGE_TOKENS
        tokens, batch = rows(case) * longest, f"{rows(case)} images"
    else:
        longest = head_of(case).max_tokens or _LONG
        tokens = max(chosen["token_budget"], longest)
        batch = f"{tokens:,} tokens"
    scores = tokens * longest * max(spec.num_attention_heads, 1)
    live = (tokens * per_token(case) + scores) * size
    yield MemoryRow("activations", live, f"a batch of {batch}")
    yield MemoryRow("CUDA context", CONTEXT)

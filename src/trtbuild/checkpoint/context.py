"""How many tokens a checkpoint can attend to, as vLLM derives it.

Source: ``_get_and_verify_max_len`` of vLLM (``vllm/config/model.py``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from trtbuild.checkpoint import families
from trtbuild.checkpoint.fields import Fields

_LARGEST_FACTOR = 1e9
_NOTHING: Mapping[str, Any] = {}


def context_of(
    fields: Fields,
    settings: Mapping[str, Any],
    sentences: Mapping[str, Any],
    *,
    pooling: bool,
) -> int:
    """Return the context of a checkpoint; ``settings`` are those of its tokenizer, ``sentences``
    those of sentence-transformers."""
    return context_length(fields, settings if pooling else _NOTHING, sentences)


def context_length(
    fields: Fields,
    tokenizer: Mapping[str, Any] = _NOTHING,
    sentences: Mapping[str, Any] = _NOTHING,
) -> int:
    """Return the tokens that the model can attend to, with rope scaling; 0 if unknown.

    The limit of an embedding model's ``tokenizer`` shortens it if positions are learnt.
    ``max_seq_length`` of ``sentences`` (sentence-transformers) takes precedence over both.
    """
    chosen = sentences.get("max_seq_length")
    if type(chosen) is int and chosen > 0:
        return chosen
    length = fields.number("model_max_length") or _declared(fields)
    limit = tokenizer.get("model_max_length")
    learnt = fields.text("position_embedding_type") == "absolute"
    if learnt and isinstance(limit, int | float) and math.isfinite(limit) and 0 < limit < length:
        length = int(limit)
    if any(name in fields.family for name in families.ROPE_IGNORED_FAMILIES):
        return length
    scaled = _scaled(fields, length)
    return min(scaled, families.CONTEXT_LIMITS.get(fields.family, scaled))


def _declared(fields: Fields) -> int:
    """Return the smallest length of all keys."""
    found = [length for key in families.CONTEXT if (length := fields.number(key))]
    return min(found, default=0)


def _scaled(fields: Fields, length: int) -> int:
    for rope in _ropes(fields):
        scaled = _by_rope(rope, length)
        if scaled != length:
            return scaled
    return length


def _ropes(fields: Fields) -> Iterator[Mapping[str, Any]]:
    """Return the rope settings: one for all layers, or one for each kind of layer."""
    rope = fields.get("rope_scaling") or fields.get("rope_parameters")
    if not isinstance(rope, dict):
        return
    yield rope
    yield from (inner for inner in rope.values() if isinstance(inner, dict))


def _by_rope(rope: Mapping[str, Any], length: int) -> int:
    kind = rope.get("rope_type") or rope.get("type")
    factor = rope.get("factor")
    if not isinstance(kind, str) or kind in families.ROPE_KEEPS_CONTEXT:
        return length
    if not isinstance(factor, int | float) or isinstance(factor, bool) or factor <= 0:
        return length
    original = rope.get("original_max_position_embeddings")
    if kind in families.ROPE_FROM_ORIGINAL and isinstance(original, int) and original > 0:
        length = original
    # JSON may contain Infinity or 1e999, which is not a length.
    return int(length * factor) if 0 < factor < _LARGEST_FACTOR else length

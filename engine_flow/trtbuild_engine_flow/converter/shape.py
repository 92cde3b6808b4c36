"""The sizes of a model that determine how its tensors are split."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trtbuild.errors import UnsupportedError
from trtbuild.modelspec import ModelSpec
from trtbuild_engine_flow.converter.families import FALCON, FALCON_NEW, FAMILIES, Family

_LLAMA3 = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
SCALES = {"linear": ("factor",), "llama3": _LLAMA3}
"""The numbers of each kind of rope scaling whose tables are computed exactly as TensorRT-LLM's."""

LONG_ROPE = ("longrope", "su")
"""Phi-3's own kind, by its two names."""


_LONG_CONTEXT = 128000  # tensorrt_llm/models/phi3/config.py


@dataclass(frozen=True, slots=True)
class Shape:
    """Counts of a decoder; ``inner`` is the width of its feed-forward part."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    inner: int
    vocab: int
    positions: int
    experts: int
    rotary: int
    theta: float


def family_of(spec: ModelSpec, config: Mapping[str, Any]) -> Family | None:
    """Return the family's row, None if its architecture is not in the table."""
    family = FAMILIES.get(spec.architecture)
    if family is FALCON and config.get("new_decoder_architecture"):
        return FALCON_NEW
    return family


def is_tied(family: Family, config: Mapping[str, Any]) -> bool | None:
    """Whether the embedding is also the head; None if only the stored tensors tell."""
    said = config.get("tie_word_embeddings")
    return (True if family.tied else None) if said is None else bool(said)


def shape_of(spec: ModelSpec, config: Mapping[str, Any]) -> Shape:
    """Return the sizes, from the spec and ``config.json``.

    Raises:
        UnsupportedError: A size in ``config.json`` is not a positive number.
    """
    inner = number(config, "intermediate_size", "ffn_hidden_size", "n_inner")
    positions = number(config, "max_position_embeddings", "n_positions")
    return Shape(
        layers=spec.num_layers,
        hidden=spec.hidden_size,
        heads=spec.num_attention_heads,
        kv_heads=spec.num_kv_heads,
        head_size=spec.head_size,
        inner=int(inner or 4 * spec.hidden_size),
        vocab=spec.vocab_size,
        positions=int(positions or 2048),
        experts=spec.num_experts,
        rotary=int(spec.head_size * rotary_fraction(config, 1.0)),
        theta=rope_theta(config),
    )


def number(config: Mapping[str, Any], *keys: str) -> float:
    """Return the first of ``keys`` that has a value, 0 if none has.

    Raises:
        UnsupportedError: It is not a positive finite number.
    """
    key = next((key for key in keys if config.get(key)), "")
    value = config[key] if key else 0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise UnsupportedError(
            f"config.json says {key} {value!r}, which is not a size",
            where="config.json",
            fix="fetch config.json again from where it came from",
        )
    return value


def is_positive(value: object) -> bool:
    """Whether a table can be computed with this number."""
    return type(value) in (int, float) and 0 < value < math.inf  # type: ignore[operator]


def rope_theta(config: Mapping[str, Any]) -> float:
    """Return the base of rotary embedding, from either transformers format."""
    value = number(config, "rope_theta", "rotary_emb_base") or number(_rope(config), "rope_theta")
    return float(value or 10000)


def rotary_fraction(config: Mapping[str, Any], default: float) -> float:
    """Return the rotated share of a head, from either transformers format."""
    key = "partial_rotary_factor"
    return number(config, key, "rotary_pct") or number(_rope(config), key) or default


def _rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """transformers 5 keeps all of it in one object."""
    inner = config.get("rope_parameters")
    return inner if isinstance(inner, dict) else {}


def rope_scaling(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the scaling of rotary embedding as TensorRT-LLM reads it, or None."""
    for key in ("rope_scaling", "rope_parameters"):
        value = config.get(key)
        if isinstance(value, dict):
            kind = value.get("rope_type", value.get("type", "default"))
            elsewhere = ("rope_theta", "partial_rotary_factor")
            kept = {name: item for name, item in value.items() if name not in elsewhere}
            return None if kind == "default" else kept
    return None


def rope_kind(config: Mapping[str, Any]) -> str:
    """Return ``linear``, ``llama3``, …; ``""`` if rotary embedding is not scaled."""
    scaling = rope_scaling(config)
    return str(scaling.get("rope_type", scaling.get("type", ""))) if scaling else ""


def original_positions(config: Mapping[str, Any]) -> int:
    """Return the positions before rope scaling; 0 if unknown."""
    scaling = rope_scaling(config) or {}
    key = "original_max_position_embeddings"
    return int(number(config, key) or number(scaling, key))


def has_long_rope(config: Mapping[str, Any]) -> bool:
    """Whether TensorRT-LLM treats a Phi-3 as one with a long context."""
    positions = number(config, "max_position_embeddings")
    return rope_kind(config) in LONG_ROPE and positions >= _LONG_CONTEXT

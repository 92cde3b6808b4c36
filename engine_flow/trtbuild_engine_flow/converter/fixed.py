"""What TensorRT-LLM's networks compute regardless of ``config.json``.

A checkpoint with other settings would convert, build and answer with wrong text. Facts from
``tensorrt_llm/models/*/model.py`` and ``config.py``, 0.14 … 1.2.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trtbuild_engine_flow.converter.families import Family
from trtbuild_engine_flow.converter.shape import Shape, rope_kind, rotary_fraction

ELSEWHERE = "deploy it with another builder (trtbuild plan)"

FIXED_THETA = 10000.0
"""The base of rotary embedding that Gemma 2 and Falcon always get there."""

_GELU = ("gelu", "gelu_python")
_FLAGS: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "gpt_neox": {
        "use_parallel_residual": (True,),
        "attention_bias": (True,),
        "layer_norm_eps": (1e-5,),
    },
    "gpt2": {
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
    },
    "falcon": {"activation": _GELU},
    "falcon-new": {"activation": _GELU},
    "gemma2": {"attention_bias": (False,), "tie_word_embeddings": (True,)},
}
"""By family: a key and the values that its network is right for; a missing key is one of them."""


def has_fixed_rope(family: Family) -> bool:
    """Whether this family's network ignores rope theta and scaling of ``config.json``."""
    return family.name.startswith(("gemma2", "falcon"))


def contradictions(family: Family, config: Mapping[str, Any], shape: Shape) -> Iterator[str]:
    """Return what ``config.json`` requires and the network does not implement."""
    for key, values in _FLAGS.get(family.name, {}).items():
        if config.get(key) is not None and config[key] not in values:
            yield _contradiction(family, key, config[key], values[0])
    if family.name == "gpt_neox" and shape.inner != 4 * shape.hidden:
        yield _contradiction(family, "intermediate_size", shape.inner, 4 * shape.hidden)
    if has_fixed_rope(family) and shape.theta != FIXED_THETA:
        yield _contradiction(family, "rope_theta", shape.theta, FIXED_THETA)
    if family.tables and family.name != "phi3" and shape.rotary != shape.head_size:
        found = rotary_fraction(config, 1.0)
        yield _contradiction(family, "partial_rotary_factor", found, 1.0)
    kind = rope_kind(config)
    if kind and (has_fixed_rope(family) or family.name == "gpt_neox"):
        yield _contradiction(family, "rope scaling", kind, None)


def _contradiction(family: Family, key: str, value: object, fixed: object) -> str:
    return (
        f"its {key} is {value!r}, and TensorRT-LLM's {family.name} always computes with "
        f"{'none' if fixed is None else repr(fixed)}: {ELSEWHERE}"
    )

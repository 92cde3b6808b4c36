"""Predict ``config.json`` of a TensorRT-LLM checkpoint from the source's own.

Field for field what TensorRT-LLM's converter writes: 0.14 is what our golden files come from;
1.x adds fields and drops ``share_embedding_table``. Strict dataclasses read ``moe``, ``mapping``
and ``quantization``, and an unknown key is an error there: a release gets only keys that it knows
(:mod:`eras`), and has a default for the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trtbuild.modelspec import ModelSpec
from trtbuild_engine_flow.converter.eras import Era, architecture_of, completed, era_of
from trtbuild_engine_flow.converter.families import Family
from trtbuild_engine_flow.converter.family_config import EXTRAS, Fields
from trtbuild_engine_flow.converter.shape import Shape, family_of, rotary_fraction, shape_of


def predict_config(
    spec: ModelSpec,
    config: Mapping[str, Any],
    *,
    dtype: str,
    tp: int = 1,
    pp: int = 1,
    release: str = "1.2.1",
) -> dict[str, Any]:
    """Return the ``config.json`` that TensorRT-LLM ``release`` would write.

    Args:
        spec: The checkpoint.
        config: Its ``config.json``.
        dtype: ``float32``, ``float16`` or ``bfloat16``.
        tp: Ranks that share every matrix.
        pp: Stages that share the layers.
        release: TensorRT-LLM's version.

    Raises:
        ValueError: The architecture is not in the table; call :func:`unsupported` first.
    """
    family = family_of(spec, config)
    if family is None:
        raise ValueError(f"{spec.architecture} is not in the table")
    config = completed(spec.architecture, config)
    shape = shape_of(spec, config)
    era = era_of(release)
    if family.name == "gpt_neox":
        return _gpt_neox(spec, config, shape, dtype=dtype, tp=tp, era=era)
    made = _common(family, spec, config, shape, dtype=dtype, tp=tp, pp=pp, era=era)
    return made | EXTRAS[family.name](config, shape, era)


def _common(
    family: Family,
    spec: ModelSpec,
    config: Mapping[str, Any],
    shape: Shape,
    *,
    dtype: str,
    tp: int,
    pp: int,
    era: Era,
) -> Fields:
    made: Fields = {
        "architecture": architecture_of(spec.architecture, era),
        "dtype": dtype,
        "logits_dtype": "float32",
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_size": shape.head_size,
        "intermediate_size": shape.inner,
        "hidden_act": config.get("hidden_act", "silu"),
        "norm_epsilon": config.get("rms_norm_eps", config.get("layer_norm_epsilon", 1e-5)),
        "position_embedding_type": "rope_gpt_neox",
        "max_position_embeddings": shape.positions,
        "qk_layernorm": False,
        "use_parallel_embedding": family.name == "gemma2" and tp > 1,
        "embedding_sharding_dim": 0,
        "mapping": _mapping(tp, pp, era),
        "quantization": _quantization(era),
    }
    if era < (0, 15):
        made["share_embedding_table"] = False
    if era >= (1, 0):
        made |= {"runtime_defaults": None, "rotary_embedding_dim": shape.rotary}
    return made


_WHOLE: Era = (0, 14)
"""The release that our golden files come from; earlier ones get less of the strict parts."""


def _mapping(tp: int, pp: int, era: Era) -> Fields:
    made: Fields = {"world_size": tp * pp, "tp_size": tp, "pp_size": pp}
    if era < _WHOLE:
        return made
    return made | {"gpus_per_node": 8, "cp_size": 1, "moe_tp_size": tp, "moe_ep_size": 1}


def _quantization(era: Era) -> Fields:
    made: Fields = {"quant_algo": None, "kv_cache_quant_algo": None}
    if era < _WHOLE:
        return made
    made |= {
        "group_size": 128,
        "smoothquant_val": 0.5,
        "clamp_val": None,
        "has_zero_point": False,
        "pre_quant_scale": False,
        "exclude_modules": None,
    }
    return made | ({"use_meta_recipe": False} if era >= (1, 0) else {})


def _gpt_neox(
    spec: ModelSpec, config: Mapping[str, Any], shape: Shape, *, dtype: str, tp: int, era: Era
) -> Fields:
    """GPT-NeoX's converter writes few fields and leaves the rest to TensorRT-LLM's defaults."""
    return {
        "architecture": spec.architecture,
        "dtype": dtype,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "hidden_size": shape.hidden,
        "vocab_size": shape.vocab,
        "position_embedding_type": "rope_gpt_neox" if era >= (0, 13) else "learned_absolute",
        "max_position_embeddings": shape.positions,
        "rotary_emb_base": shape.theta,
        "rotary_pct": rotary_fraction(config, 0.25),
        "hidden_act": config.get("hidden_act", "gelu"),
        "quantization": {"quant_algo": None},
        "mapping": {"world_size": tp, "tp_size": tp, "pp_size": 1},
        "use_parallel_embedding": False,
        "embedding_sharding_dim": 0,
        "share_embedding_table": False,
    }

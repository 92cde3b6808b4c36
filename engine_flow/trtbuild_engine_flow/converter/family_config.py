"""The fields of ``config.json`` that only one family has; see :mod:`config`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trtbuild_engine_flow.converter.eras import Era, moe_keys, reads_field, wants_head
from trtbuild_engine_flow.converter.shape import (
    Shape,
    has_long_rope,
    number,
    original_positions,
    rope_kind,
    rope_scaling,
    rotary_fraction,
)

Fields = dict[str, Any]
_SHARED = "moe_shared_expert_intermediate_size"


def _moe(
    era: Era, experts: int = 0, top_k: int = 0, normalization: int | None = None, shared: int = 0
) -> Fields:
    made: Fields = {
        "num_experts": experts,
        "top_k": top_k,
        "normalization_mode": normalization,
        "sparse_mixer_epsilon": 0.01,
        "tp_mode": 0,
        "moe_intermediate_size": 0,
        "num_shared_experts": 0,
        "shared_expert_intermediate_size": shared,
        "device_limited_n_group": 0,
        "device_limited_topk_group": 0,
        "device_limited_routed_scaling_factor": 1.0,
    }
    known = moe_keys(era)
    return {"moe": {key: value for key, value in made.items() if key in known}} if known else {}


def _rope(config: Mapping[str, Any], shape: Shape, era: Era) -> Fields:
    scaling = rope_scaling(config)
    if scaling and reads_field("rotary_scaling.type", era):
        scaling = {"type": rope_kind(config), **scaling}
    return {"rotary_base": shape.theta, "rotary_scaling": scaling}


def _tied(config: Mapping[str, Any], era: Era) -> Fields:
    return {"tie_word_embeddings": bool(config.get("tie_word_embeddings"))} if _new(era) else {}


def _new(era: Era) -> bool:
    return era >= (1, 0)


def _llama(config: Mapping[str, Any], shape: Shape, era: Era) -> Fields:
    made = {
        "mlp_bias": False,
        "attn_bias": bool(config.get("bias") or config.get("attention_bias")),
        **_rope(config, shape, era),
        "residual_mlp": False,
        "disable_weight_only_quant_plugin": False,
        **_moe(era),
        "remove_duplicated_kv_heads": False,
        **_tied(config, era),
    }
    if _new(era):
        made |= {
            "fc_after_embed": False,
            "use_input_layernorm_in_first_layer": True,
            "use_last_layernorm": True,
            "layer_idx_offset": 0,
            "embedding_multiplier": 1.0,
            "attention_multiplier": 1.0,
            "residual_multiplier": 1.0,
            "output_multiplier_scale": 1.0,
        }
    return made


def _mixtral(config: Mapping[str, Any], shape: Shape, era: Era) -> Fields:
    moe = _moe(era, shape.experts, int(number(config, "num_experts_per_tok")), 1)
    return _llama(config, shape, era) | {"hidden_act": "swiglu", **moe}


def _qwen2(config: Mapping[str, Any], shape: Shape, era: Era) -> Fields:
    made = {
        "mlp_bias": False,
        "attn_bias": True,
        **_rope(config, shape, era),
        "disable_weight_only_quant_plugin": False,
        **_moe(era, normalization=0),
        "qwen_type": str(config.get("model_type", "qwen2")),
        "moe_intermediate_size": int(number(config, "moe_intermediate_size")),
        _SHARED: int(config.get("shared_expert_intermediate_size") or 0),
        **_tied(config, era),
    }
    if reads_field("seq_length", era):
        made["seq_length"] = int(number(config, "seq_length") or 8192)
    return made | ({"use_logn_attn": False, "num_labels": 1} if _new(era) else {})


def _qwen2_moe(config: Mapping[str, Any], shape: Shape, era: Era) -> Fields:
    # TensorRT-LLM's own converter leaves the weights of the chosen experts as they are, always.
    normalization = 1 if config.get("norm_topk_prob") else 0
    made = _qwen2(config, shape, era)
    top_k, shared = int(number(config, "num_experts_per_tok")), _SHARED
    moe = _moe(era, shape.experts, top_k, normalization, made[shared])
    return made | {"hidden_act": "swiglu", **moe}


def _phi3(config: Mapping[str, Any], shape: Shape, era: Era) -> Fields:
    act = config.get("hidden_act", "silu")
    made = {
        **_rope(config, shape, era),
        "rotary_scaling": None,
        "rotary_pct": rotary_fraction(config, 1.0),
        "hidden_act": "swiglu" if act == "silu" else act,
        **_tied(config, era),
    }
    if has_long_rope(config):
        scaling = rope_scaling(config) or {}
        made |= {
            "position_embedding_type": "long_rope",
            "original_max_position_embeddings": original_positions(config),
            "longrope_scaling_short_factors": scaling["short_factor"],
            "longrope_scaling_long_factors": scaling["long_factor"],
        }
    return made


def _gemma2(config: Mapping[str, Any], _: Shape, era: Era) -> Fields:
    made = {
        # TensorRT-LLM looks for "rotary_base" in a file that says "rope_theta": always 10000.
        "rotary_base": 10000.0,
        "rotary_scaling": None,
        "attn_bias": False,
        "mlp_bias": False,
        "hidden_act": config.get("hidden_act", "gelu_pytorch_tanh"),
        "inter_layernorms": True,
        "query_pre_attn_scalar": config.get("query_pre_attn_scalar"),
        "final_logit_softcapping": config.get("final_logit_softcapping"),
        "attn_logit_softcapping": config.get("attn_logit_softcapping"),
    }
    shares = not _new(era) and not wants_head("gemma2", era)
    return made | ({"share_embedding_table": True} if shares else {})


def _falcon(config: Mapping[str, Any], _: Shape, __: Era) -> Fields:
    return {
        "hidden_act": "gelu",
        "bias": bool(config.get("bias")),
        "parallel_attention": bool(config.get("parallel_attn", True)),
        "new_decoder_architecture": bool(config.get("new_decoder_architecture")),
    }


def _gpt2(config: Mapping[str, Any], _: Shape, era: Era) -> Fields:
    return {
        "position_embedding_type": "learned_absolute",
        "hidden_act": config.get("activation_function", "gelu_new"),
        "bias": True,
        "q_scaling": 1.0,
        "embedding_scale": None,
        "apply_query_key_layer_scaling": False,
        "rotary_pct": 1.0,
        "rotary_base": 10000.0,
        "rotary_scaling": None,
        **_moe(era, normalization=1),
        "gpt_variant": "gpt2",
    }


EXTRAS: dict[str, Callable[[Mapping[str, Any], Shape, Era], Fields]] = {
    "llama": _llama,
    "mixtral": _mixtral,
    "qwen2": _qwen2,
    "qwen2_moe": _qwen2_moe,
    "phi3": _phi3,
    "gemma2": _gemma2,
    "falcon": _falcon,
    "falcon-new": _falcon,
    "gpt2": _gpt2,
}
"""By the family's name: its own fields, which win over the common ones."""

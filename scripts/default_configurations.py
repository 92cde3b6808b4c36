"""The configuration that transformers' own class makes for each family that vLLM serves.

Used by ``scripts/vllm_sizes.py --defaults``, in the embedded runtime's Python.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# What vLLM reads and a class of transformers leaves out; none of it sizes a cache.
LFM2 = {
    "block_dim": 2560, "block_ff_dim": 12288, "block_multiple_of": 256, "conv_dim": 2560,
    "block_ffn_dim_multiplier": 1.0, "block_auto_adjust_ff_dim": True, "conv_dim_out": 2560,
}  # fmt: skip
NEEDED: dict[str, dict[str, Any]] = {
    "afmoe": {"score_func": "sigmoid", "n_group": 1, "topk_group": 1, "route_norm": True},
    "dbrx": {"attn_config": {"kv_n_heads": 8, "clip_qkv": 8, "rope_theta": 500000}},
    "glm4_moe": {"head_dim": 128},
    "qwen4_exp": {"text_config": {"output_gate_type": "silu"}},
    "qwen4_exp_text": {"output_gate_type": "silu"},
    "glm4_moe_lite": {"first_k_dense_replace": 1},
    "hunyuan_v1_dense": {"head_dim": 128},
    "hunyuan_v1_moe": {"head_dim": 128},
    "glm4v_moe": {"text_config": {"head_dim": 128, "use_qk_norm": False}},
    "hy_v3": {"first_k_dense_replace": 1, "expert_hidden_dim": 1536, "route_norm": True},
    "inkling_text": {"padded_vocab_size": 201024, "use_embed_norm": True},
    "lfm2": LFM2,
    "lfm2_vl": {"text_config": LFM2},
    "qwen3_vl_moe": {"text_config": {"norm_topk_prob": True}},
    "lfm2_moe": {"layer_types": (["conv"] * 3 + ["full_attention"]) * 8},
    "longcat_flash": {"mla_scale_q_lora": True, "mla_scale_kv_lora": True,
                      "zero_expert_type": "identity"},
    "minimax_m2": {"rotary_dim": 64, "scoring_func": "sigmoid"},
    "mimo_v2_flash": {"hybrid_layer_pattern": [0, 1, 1, 1, 1, 1] * 8, "layernorm_epsilon": 1e-5},
    "nemotron": {"num_key_value_heads": 48},
    "xlm-roberta": {"position_embedding_type": "absolute"},
}  # fmt: skip
NOISE = (
    "dropout", "initializer", "token_id", "token_index", "hidden_act", "eps", "bias", "use_cache",
    "pretraining_tp", "transformers_version", "return_dict", "output_", "problem_type", "label2id",
)  # fmt: skip
VISUAL = ("vision_config", "audio_config", "video_config", "vq_config", "qformer_config")


def defaults() -> Iterator[dict[str, Any]]:
    """A line for every family whose class is transformers' and whose architecture is vLLM's."""
    from transformers.models.auto import modeling_auto as auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from vllm.model_executor.models.registry import ModelRegistry

    known, seen = {*ModelRegistry.get_supported_archs()}, set()
    for mapping in (
        auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        auto.MODEL_MAPPING_NAMES,
    ):
        for family, named in mapping.items():
            architecture = named if isinstance(named, str) else named[0]
            if family in seen or architecture not in known:
                continue
            seen.add(family)
            config = CONFIG_MAPPING[family]().to_diff_dict()
            for key, value in NEEDED.get(family, {}).items():
                config[key] = {**config[key], **value} if key == "text_config" else value
            yield {
                "name": f"default {family}",
                "config": _quiet(config) | {"architectures": [architecture]},
            }


def _quiet(config: Mapping[str, Any]) -> dict[str, Any]:
    """Without what sizes nothing, and with no more of a tower than its kind."""
    kept: dict[str, Any] = {}
    for key, value in config.items():
        if value is None or any(part in str(key) for part in NOISE):
            continue
        if isinstance(value, dict) and key in VISUAL:
            kept[key] = {"model_type": value.get("model_type", "")}
        else:
            kept[key] = _quiet(value) if isinstance(value, dict) else value
    return kept

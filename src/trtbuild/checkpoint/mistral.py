"""Mistral's own layout: ``params.json`` and ``consolidated*.safetensors``, without config.json.

The meaning of the keys and the architecture that serves them are taken from vLLM 0.24.0
(``vllm/transformers_utils/configs/mistral.py``), which reads these files itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KEYS = {
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "hidden_dim": "intermediate_size",
    "norm_eps": "rms_norm_eps",
    "activation": "hidden_act",
    "tied_embeddings": "tie_word_embeddings",
    "model_type": "",
    "max_seq_len": "",
    "moe": "",
    "yarn": "",
    "quantization": "",
    "multimodal": "",
    "vision_encoder": "",
}
_EXPERTS = {
    "num_experts": "n_routed_experts",
    "num_experts_per_tok": "num_experts_per_tok",
    "expert_hidden_dim": "moe_intermediate_size",
    "num_shared_experts": "n_shared_experts",
}
_YARN = {
    "factor": "factor",
    "original_max_position_embeddings": "original_max_position_embeddings",
    "beta": "beta_fast",
    "alpha": "beta_slow",
}
_CONTEXT = 128_000  # default if neither length is given


def config_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``params.json`` as an equivalent ``config.json``."""
    config = {_KEYS.get(key, key): value for key, value in params.items()}
    config.pop("", None)
    config["max_position_embeddings"] = (
        params.get("max_position_embeddings") or params.get("max_seq_len") or _CONTEXT
    )
    config.setdefault("sliding_window", None)  # no class has a default for it
    _windows(config)
    config |= _architecture(params) | _rope(params) | _quantization(params)
    multimodal = _object(params, "multimodal")
    if params.get("vision_encoder") or multimodal.get("vision_encoder_args"):
        vision = params.get("vision_encoder") or multimodal["vision_encoder_args"]
        return _around(config, "pixtral", "PixtralForConditionalGeneration", vision_config=vision)
    if audio := multimodal.get("whisper_model_args"):
        return _around(config, "voxtral", "VoxtralForConditionalGeneration", audio_config=audio)
    return config


def _object(params: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = params.get(key)
    return value if isinstance(value, dict) else {}


def _around(text: dict[str, Any], kind: str, architecture: str, **tower: Any) -> dict[str, Any]:
    return {"model_type": kind, "architectures": [architecture], "text_config": text, **tower}


def _architecture(params: Mapping[str, Any]) -> dict[str, Any]:
    moe = _object(params, "moe")
    if params.get("model_type") == "mamba":
        return {"model_type": "mamba2", "architectures": ["Mamba2ForCausalLM"]}
    if moe.get("num_shared_experts") or params.get("qk_nope_head_dim"):
        renamed = {_EXPERTS[key]: value for key, value in moe.items() if key in _EXPERTS}
        return {
            "model_type": "deepseek_v3",
            "architectures": ["MistralLarge3ForCausalLM"],
        } | renamed
    if moe:
        experts = {"num_local_experts": moe.get("num_experts")}
        each = {"num_experts_per_tok": moe.get("num_experts_per_tok")}
        return {"model_type": "mixtral", "architectures": ["MixtralForCausalLM"]} | experts | each
    return {"model_type": "mistral", "architectures": ["MistralForCausalLM"]}


def _windows(config: dict[str, Any]) -> None:
    """Return a window for each layer of a repeating pattern, None without one."""
    pattern, layers = config.get("sliding_window"), config.get("num_hidden_layers")
    if not isinstance(pattern, list) or not pattern or not isinstance(layers, int):
        return
    repeated = (pattern * (layers // len(pattern) + 1))[:layers]
    config["layer_types"] = [
        "sliding_attention" if window else "full_attention" for window in repeated
    ]
    config["sliding_window"] = next(filter(None, pattern), None)


def _rope(params: Mapping[str, Any]) -> dict[str, Any]:
    yarn = _object(params, "yarn")
    if not yarn:
        return {}
    renamed = {_YARN[key]: value for key, value in yarn.items() if key in _YARN}
    theta = {"rope_theta": params["rope_theta"]} if params.get("rope_theta") else {}
    return {"rope_parameters": {"rope_type": "yarn", **renamed, **theta}}


def _quantization(params: Mapping[str, Any]) -> dict[str, Any]:
    declared = _object(params, "quantization")
    if declared.get("qformat_weight") == "fp8_e4m3":
        dynamic = declared.get("qscheme_act") == "NO_SCALES"
        scheme = "dynamic" if dynamic else "static"
        return {"quantization_config": {"quant_method": "fp8", "activation_scheme": scheme}}
    return {"quantization_config": dict(declared)} if declared else {}

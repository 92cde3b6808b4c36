"""The options of ``trtllm-build``, and the resulting ``config.json`` of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trtbuild.modelspec import ModelSpec
from trtbuild.toolchain import Toolchain
from trtbuild_engine_flow.builder.settings import EngineSettings
from trtbuild_engine_flow.builder.tables import families
from trtbuild_engine_flow.engineconfig import EngineConfig, of_document
from trtbuild_engine_flow.executor import EngineBuild
from trtbuild_engine_flow.parameters import build_options

# Source: SpeculativeDecodingMode in tensorrt_llm/models/modeling_utils.py, flags from 1 on.
_SPECULATIVE = {
    "draft_tokens_external": 2,
    "medusa": 4,
    "lookahead_decoding": 8,
    "explicit_draft_tokens": 16,
    "eagle": 32,
}
# Options that control the build itself and do not affect the engine.
_PASSING = {"workers", "log_level", "monitor_memory", "fast_build"}
_TOP = {
    "max_batch_size", "max_input_len", "max_output_len", "max_seq_len", "max_num_tokens",
    "opt_num_tokens",
    "max_beam_width", "max_encoder_input_len", "max_prompt_embedding_table_size", "max_draft_len",
    "gather_context_logits", "gather_generation_logits", "weight_streaming", "weight_sparsity",
    "profiling_verbosity", "kv_cache_type", "speculative_decoding_mode", "strip_plan",
    "logits_dtype", "max_lora_rank", "lora_target_modules",
}  # fmt: skip


def engine_build(spec: ModelSpec, settings: EngineSettings, tools: Toolchain) -> EngineBuild:
    """Return how the engine is compiled."""
    return EngineBuild(
        release=tools.trtllm,
        dtype=settings.dtype,
        tp=settings.tp,
        pp=settings.pp,
        family=families().get(spec.architecture, ""),
        workers=settings.build["workers"],
        options=_arguments(settings.build),
        build_config=_build_config(settings),
    )


def expected(spec: ModelSpec, build: EngineBuild) -> EngineConfig:
    """Return the expected engine, as far as the spec defines it."""
    pretrained = {
        "architecture": spec.architecture,
        "dtype": build.dtype,
        "logits_dtype": build.build_config.get("logits_dtype", "float32"),
        "vocab_size": spec.vocab_size,
        "num_hidden_layers": spec.num_layers,
        "mapping": {"world_size": build.world, "tp_size": build.tp, "pp_size": build.pp},
    }
    return of_document(
        {
            "version": build.release,
            "pretrained_config": pretrained,
            "build_config": build.build_config,
        }
    )


def _arguments(options: Mapping[str, Any]) -> tuple[str, ...]:
    words: list[str] = []
    for name, option in build_options().items():
        value = options.get(name)
        if value is None or (option.type == "flag" and not value):
            continue
        words.append(f"--{name}")
        if option.type == "switch":
            words.append("enable" if value else "disable")
        elif option.type == "list":
            words += value
        elif option.type != "flag":
            words.append(str(value))
    return tuple(words)


def _build_config(settings: EngineSettings) -> dict[str, Any]:
    """Return ``build_config`` as :class:`BuildConfig` writes it, with plug-ins by name."""
    options = {k: v for k, v in settings.build.items() if k not in _PASSING}
    top = {name: options[name] for name in options if name in _TOP}
    plugins = {
        name: None if value == "disable" else value
        for name, value in options.items()
        if name not in _TOP
    }
    mode = top.pop("speculative_decoding_mode", "")
    rank, modules = top.pop("max_lora_rank", 64), top.pop("lora_target_modules", [])
    kind = top.pop("kv_cache_type", "paged")
    return {
        "max_prompt_embedding_table_size": 0,
        "max_draft_len": 0,
        "gather_context_logits": False,
        "gather_generation_logits": False,
        "weight_streaming": False,
        "strongly_typed": True,
        "kv_cache_type": kind.upper(),
        "speculative_decoding_mode": _SPECULATIVE.get(mode, 1),
        "lora_config": {"max_lora_rank": rank, "lora_target_modules": modules},
        **top,
        "plugin_config": {"dtype": settings.dtype, "paged_kv_cache": kind == "paged", **plugins},
    }

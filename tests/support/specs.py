"""Specs of well-known models, by their published configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trtbuild.modelspec import (
    AttentionGroup,
    KVCache,
    ModelSpec,
    Quantization,
    SourceRef,
    Task,
    TokenizerInfo,
)


def llama_8b(**changes: Any) -> ModelSpec:
    """Llama-3.1-8B-Instruct: GQA, 131,072 B of KV a token."""
    spec = ModelSpec(
        source=SourceRef("hub", "meta-llama/Llama-3.1-8B-Instruct", "main", "0e9e39f" + "0" * 33),
        architecture="LlamaForCausalLM",
        model_type="llama",
        task=Task.GENERATE,
        parameters=8_030_261_248,
        bytes_by_dtype={"BF16": 16_060_522_496},
        dtype="bfloat16",
        quantization=None,
        num_layers=32,
        hidden_size=4096,
        num_attention_heads=32,
        num_kv_heads=8,
        head_size=128,
        context_length=131_072,
        vocab_size=128_256,
        bos_token_id=128_000,
        eos_token_ids=(128_001, 128_008, 128_009),
        pad_token_id=None,
        kv_cache=KVCache("GQA", (AttentionGroup("full", 32, 8 * (128 + 128)),)),
        tokenizer=TokenizerInfo("fast", vocab_size=128_256),
        remote_code=False,
    )
    return replace(spec, **changes)


def with_code(spec: ModelSpec | None = None, **changes: Any) -> ModelSpec:
    """The same with a tokenizer of its own, whose code a server would have to run."""
    own = {
        "remote_code": True,
        "code": ("configuration", "model", "tokenizer"),
        "tokenizer": TokenizerInfo("tiktoken", "OwnTokenizer"),
    }
    return replace(spec or llama_8b(), **(own | changes))


def llama_70b(**changes: Any) -> ModelSpec:
    """Llama-3.3-70B-Instruct."""
    return llama_8b(
        **{
            "parameters": 70_553_706_496,
            "bytes_by_dtype": {"BF16": 141_107_412_992},
            "num_layers": 80,
            "hidden_size": 8192,
            "num_attention_heads": 64,
            "kv_cache": KVCache("GQA", (AttentionGroup("full", 80, 8 * (128 + 128)),)),
        }
        | changes
    )


def deepseek_v3(**changes: Any) -> ModelSpec:
    """DeepSeek-V3: MLA over 61 layers, 512 + 64 elements a token and layer, weights in FP8."""
    return llama_8b(
        **{
            "architecture": "DeepseekV3ForCausalLM",
            "model_type": "deepseek_v3",
            "parameters": 671_026_419_200,
            "bytes_by_dtype": {"F8_E4M3": 660_000_000_000, "BF16": 28_000_000_000},
            "quantization": Quantization("fp8", {"fmt": "e4m3", "weight_block_size": "128x128"}),
            "num_layers": 61,
            "hidden_size": 7168,
            "num_attention_heads": 128,
            "num_kv_heads": 128,
            "context_length": 163_840,
            "vocab_size": 129_280,
            "kv_cache": KVCache("MLA", (AttentionGroup("mla", 61, 512 + 64),)),
        }
        | changes
    )


def gemma3_like(**changes: Any) -> ModelSpec:
    """One full layer to five sliding ones, as Gemma 3 has them."""
    return llama_8b(
        **{
            "architecture": "Gemma3ForCausalLM",
            "num_layers": 48,
            "kv_cache": KVCache(
                "sliding-window",
                (
                    AttentionGroup("full", 8, 8 * 512),
                    AttentionGroup("sliding", 40, 8 * 512, window=1024),
                ),
            ),
        }
        | changes
    )


def mamba_like(**changes: Any) -> ModelSpec:
    """Only recurrent layers: a state of constant size, no KV cache."""
    group = AttentionGroup("recurrent", 64, 0, constant_elements=1_000_000)
    return llama_8b(
        **{"architecture": "FalconMambaForCausalLM", "kv_cache": KVCache("none", (group,))}
        | changes
    )

"""Tiny checkpoints of every family that the TensorRT-LLM converter describes, random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from support.checkpoints import write_json, write_safetensors, write_tokenizer

Arrays = dict[str, np.ndarray]
L, H, N, INNER, V, P = 2, 32, 4, 48, 64, 16  # layers, hidden, heads, inner, vocabulary, positions
S = H // N


def _config(architecture: str, model_type: str, **more: Any) -> dict[str, Any]:
    return {
        "architectures": [architecture],
        "model_type": model_type,
        "hidden_size": H,
        "num_hidden_layers": L,
        "num_attention_heads": N,
        "intermediate_size": INNER,
        "vocab_size": V,
        "max_position_embeddings": P,
        "torch_dtype": "float32",
    } | more


def _llama_layer(prefix: str, kv: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{prefix}self_attn.q_proj.weight": (H, H),
        f"{prefix}self_attn.k_proj.weight": (kv * S, H),
        f"{prefix}self_attn.v_proj.weight": (kv * S, H),
        f"{prefix}self_attn.o_proj.weight": (H, H),
        f"{prefix}input_layernorm.weight": (H,),
        f"{prefix}post_attention_layernorm.weight": (H,),
    }


def _gated(prefix: str, inner: int = INNER) -> dict[str, tuple[int, ...]]:
    return {
        f"{prefix}gate_proj.weight": (inner, H),
        f"{prefix}up_proj.weight": (inner, H),
        f"{prefix}down_proj.weight": (H, inner),
    }


_ENDS = {"model.embed_tokens.weight": (V, H), "model.norm.weight": (H,)}


def _both(stem: str, out: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{stem}.weight": (out, inputs), f"{stem}.bias": (out,)}


def _norm(stem: str) -> dict[str, tuple[int, ...]]:
    return {f"{stem}.weight": (H,), f"{stem}.bias": (H,)}


def llama(**more: Any) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    kv = more.setdefault("num_key_value_heads", 2)
    config = _config("LlamaForCausalLM", "llama", **{"rms_norm_eps": 1e-5} | more)
    shapes: dict[str, tuple[int, ...]] = dict(_ENDS)
    if not config.get("tie_word_embeddings"):
        shapes["lm_head.weight"] = (V, H)
    for n in range(L):
        shapes |= _llama_layer(f"model.layers.{n}.", kv) | _gated(f"model.layers.{n}.mlp.")
    return config, shapes


def qwen2_moe() -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    config = _config(
        "Qwen2MoeForCausalLM", "qwen2_moe", num_key_value_heads=N, num_experts=3,
        num_experts_per_tok=2, moe_intermediate_size=24, shared_expert_intermediate_size=INNER,
        rms_norm_eps=1e-6, decoder_sparse_step=1,
    )  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = _ENDS | {"lm_head.weight": (V, H)}
    for n in range(L):
        prefix = f"model.layers.{n}."
        shapes |= _llama_layer(prefix, N) | _gated(f"{prefix}mlp.shared_expert.")
        shapes |= {f"{prefix}self_attn.{x}_proj.bias": (H,) for x in "qkv"}
        shapes |= {
            f"{prefix}mlp.gate.weight": (3, H),
            f"{prefix}mlp.shared_expert_gate.weight": (1, H),
        }
        for e in range(3):
            shapes |= _gated(f"{prefix}mlp.experts.{e}.", 24)
    return config, shapes


def qwen2() -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    config, shapes = llama(rms_norm_eps=1e-6)
    names = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}
    for n in range(L):
        prefix = f"model.layers.{n}.self_attn."
        shapes |= {f"{prefix}q_proj.bias": (H,)}
        shapes |= {f"{prefix}{x}_proj.bias": (2 * S,) for x in "kv"}
    return config | names, shapes


def mixtral() -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    config, shapes = llama(num_local_experts=2, num_experts_per_tok=2)
    names = {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral"}
    for n in range(L):
        prefix = f"model.layers.{n}."
        for part in ("gate", "up", "down"):
            del shapes[f"{prefix}mlp.{part}_proj.weight"]
        shapes[f"{prefix}block_sparse_moe.gate.weight"] = (2, H)
        for e in range(2):
            expert = f"{prefix}block_sparse_moe.experts.{e}."
            shapes |= {f"{expert}w1.weight": (INNER, H), f"{expert}w3.weight": (INNER, H)}
            shapes[f"{expert}w2.weight"] = (H, INNER)
    return config | names, shapes


def phi3() -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    config = _config("Phi3ForCausalLM", "phi3", num_key_value_heads=2, rms_norm_eps=1e-5)
    shapes: dict[str, tuple[int, ...]] = _ENDS | {"lm_head.weight": (V, H)}
    for n in range(L):
        prefix = f"model.layers.{n}."
        shapes |= {
            f"{prefix}self_attn.qkv_proj.weight": (H + 2 * 2 * S, H),
            f"{prefix}self_attn.o_proj.weight": (H, H),
            f"{prefix}mlp.gate_up_proj.weight": (2 * INNER, H),
            f"{prefix}mlp.down_proj.weight": (H, INNER),
            f"{prefix}input_layernorm.weight": (H,),
            f"{prefix}post_attention_layernorm.weight": (H,),
        }
    return config, shapes


def gemma2() -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    config = _config(
        "Gemma2ForCausalLM", "gemma2", num_key_value_heads=2, head_dim=S, rms_norm_eps=1e-6,
        tie_word_embeddings=True, query_pre_attn_scalar=S, final_logit_softcapping=30.0,
        attn_logit_softcapping=50.0, hidden_act="gelu_pytorch_tanh", sliding_window=8,
    )  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = dict(_ENDS)
    for n in range(L):
        prefix = f"model.layers.{n}."
        shapes |= _llama_layer(prefix, 2) | _gated(f"{prefix}mlp.")
        shapes |= {f"{prefix}{x}_feedforward_layernorm.weight": (H,) for x in ("pre", "post")}
    return config, shapes


def falcon(*, new: bool) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    kv = 2 if new else 1
    config = _config(
        "FalconForCausalLM", "falcon", num_kv_heads=kv, new_decoder_architecture=new,
        multi_query=not new, parallel_attn=True, alibi=False, bias=False,
        layer_norm_epsilon=1e-5, ffn_hidden_size=4 * H,
    )  # fmt: skip
    del config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {"transformer.word_embeddings.weight": (V, H)}
    shapes |= _norm("transformer.ln_f")
    for n in range(L):
        prefix = f"transformer.h.{n}."
        shapes |= {
            f"{prefix}self_attention.query_key_value.weight": ((N + 2 * kv) * S, H),
            f"{prefix}self_attention.dense.weight": (H, H),
            f"{prefix}mlp.dense_h_to_4h.weight": (4 * H, H),
            f"{prefix}mlp.dense_4h_to_h.weight": (H, 4 * H),
        }
        for name in ("ln_attn", "ln_mlp") if new else ("input_layernorm",):
            shapes |= _norm(prefix + name)
    return config, shapes


def gpt_neox(**more: Any) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    config = _config(
        "GPTNeoXForCausalLM", "gpt_neox", rotary_pct=0.25, rotary_emb_base=10000,
        layer_norm_eps=1e-5, hidden_act="gelu", **more,
    )  # fmt: skip
    config["intermediate_size"] = 4 * H
    shapes: dict[str, tuple[int, ...]] = {
        "gpt_neox.embed_in.weight": (V, H),
        "embed_out.weight": (V, H),
    }
    shapes |= _norm("gpt_neox.final_layer_norm")
    for n in range(L):
        prefix = f"gpt_neox.layers.{n}."
        shapes |= _both(f"{prefix}attention.query_key_value", 3 * H, H)
        shapes |= _both(f"{prefix}attention.dense", H, H)
        shapes |= _both(f"{prefix}mlp.dense_h_to_4h", 4 * H, H)
        shapes |= _both(f"{prefix}mlp.dense_4h_to_h", H, 4 * H)
        shapes |= _norm(f"{prefix}input_layernorm") | _norm(f"{prefix}post_attention_layernorm")
    return config, shapes


def gpt2() -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """As published: no prefix, matrices input by output."""
    config = {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": H, "n_layer": L,
        "n_head": N, "n_positions": P, "n_ctx": P, "vocab_size": V, "layer_norm_epsilon": 1e-5,
        "activation_function": "gelu_new", "torch_dtype": "float32",
    }  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {"wte.weight": (V, H), "wpe.weight": (P, H)} | _norm(
        "ln_f"
    )
    for n in range(L):
        prefix = f"h.{n}."
        for stem, inputs, out in (
            ("attn.c_attn", H, 3 * H), ("attn.c_proj", H, H),
            ("mlp.c_fc", H, 4 * H), ("mlp.c_proj", 4 * H, H),
        ):  # fmt: skip
            shapes |= {f"{prefix}{stem}.weight": (inputs, out), f"{prefix}{stem}.bias": (out,)}
        shapes |= _norm(f"{prefix}ln_1") | _norm(f"{prefix}ln_2")
    return config, shapes


def write_source(
    folder: Path, made: tuple[dict[str, Any], dict[str, tuple[int, ...]]], seed: int = 0
) -> Arrays:
    """The checkpoint in ``folder``, float32; returns its tensors."""
    config, shapes = made
    rng = np.random.default_rng(seed)
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    write_json(folder / "config.json", config)
    write_tokenizer(folder)
    write_safetensors(folder / "model.safetensors", arrays)
    return arrays

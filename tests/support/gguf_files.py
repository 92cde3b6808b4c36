"""Tiny GGUF files, written with the ``gguf`` package as llama.cpp's converter would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import quantize

from support.checkpoints import SPECIAL, llama_config, llama_shapes, tokenizer_json

_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_TOP = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def interleave(weight: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's order of the rows of q and k: the halves of a head, alternating."""
    rows = weight.shape[0]
    halves = weight.reshape(heads, 2, rows // heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def make_gguf(
    path: Path,
    *,
    architecture: str = "llama",
    kind: str = "F32",
    heads: int = 4,
    kv_heads: int = 2,
    bias: bool = False,
    pre: str = "smollm",
    extra: dict[str, Any] | None = None,
    rope_factors: np.ndarray | None = None,
    seed: int = 0,
    parts: int = 0,
) -> dict[str, np.ndarray]:
    """Write ``path`` and return the Hugging Face tensors that it holds, exactly.

    ``parts`` splits it into files of so many tensors, named from ``path``.
    ``kind`` quantises the matrices; what is returned has been through the quantisation.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    config = llama_config(heads=heads, kv_heads=kv_heads)
    shapes = llama_shapes(config)
    for number in range(config["num_hidden_layers"]):
        attention = f"model.layers.{number}.self_attn"
        if bias:
            for part in "qkv":
                rows = shapes[f"{attention}.{part}_proj.weight"][0]
                shapes[f"{attention}.{part}_proj.bias"] = (rows,)
        if architecture == "qwen3":
            shapes |= {f"{attention}.{part}_norm.weight": (16,) for part in "qk"}
    writer = gguf.GGUFWriter(path, architecture, split_max_tensors=parts)
    _metadata(writer, config, architecture, pre, extra or {})
    rng = np.random.default_rng(seed)
    truth: dict[str, np.ndarray] = {}
    counts = {"q_proj": heads, "k_proj": kv_heads} if architecture == "llama" else {}
    for name, shape in shapes.items():
        stored = rng.standard_normal(shape).astype(np.float32)
        turned = next((n for part, n in counts.items() if f"{part}." in name), 0)
        if turned:
            stored = interleave(stored, turned)
        truth[name] = _add(writer, _gguf_name(name), stored, kind if len(shape) == 2 else "F32")
        if turned:
            truth[name] = _straight(truth[name], turned)
    if rope_factors is not None:
        writer.add_tensor("rope_freqs.weight", rope_factors.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return truth


def _straight(weight: np.ndarray, heads: int) -> np.ndarray:
    """The inverse of :func:`interleave`, by looking every row up."""
    size = weight.shape[0] // heads
    order = interleave(np.arange(weight.shape[0]), heads)
    made = np.empty_like(weight)
    for at, row in enumerate(order):
        made[row] = weight[at]
    assert size % 2 == 0
    return made


def _add(writer: gguf.GGUFWriter, name: str, values: np.ndarray, kind: str) -> np.ndarray:
    if kind == "F32":
        writer.add_tensor(name, values)
        return values
    number = gguf.GGMLQuantizationType[kind]
    packed = quantize(values, number)
    if kind == "F16":
        writer.add_tensor(name, packed)
        return packed.astype(np.float32)
    writer.add_tensor(name, packed, raw_dtype=number)
    return gguf.quants.dequantize(packed, number)


def _gguf_name(name: str) -> str:
    if name in _TOP:
        return _TOP[name]
    _, _, layer, *rest, ending = name.split(".")
    return f"blk.{layer}.{_NAMES['.'.join(rest)]}.{ending}"


def _metadata(
    writer: gguf.GGUFWriter,
    config: dict[str, Any],
    architecture: str,
    pre: str,
    extra: dict[str, Any],
) -> None:
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    tokenizer = json.loads(tokenizer_json(512))
    tokens = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    tokens += [f"<unused{n}>" for n in range(config["vocab_size"] - len(tokens))]
    writer.add_tokenizer_model("gpt2")
    if pre:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in tokens])
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(False)
    for key, value in extra.items():
        add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32}
        add.get(type(value), writer.add_string)(key, value)

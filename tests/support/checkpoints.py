"""Tiny real checkpoints: random weights, a really trained tokenizer, loadable by vLLM.

:func:`write_safetensors` writes the format by hand, so the library's own reader is tested
against an independent writer (and against the ``safetensors`` package where it matters).
"""

from __future__ import annotations

import functools
import json
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_CORPUS = (
    "The capital of France is Paris. Triton serves models; a model repository holds them.",
    "def main() -> None:\n    print('hello, world')\n    return None\n",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. 東京 Привет 🙂",
    "one two three four five six seven eight nine ten 0123456789 2026-11-20",
)
_NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


@functools.cache
def tokenizer_json(vocab: int) -> str:
    """A byte-level BPE of at most ``vocab`` tokens as ``tokenizer.json``."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    return str(tokenizer.to_str(pretty=False))


def llama_config(
    *,
    layers: int = 2,
    hidden: int = 64,
    heads: int = 4,
    kv_heads: int = 2,
    vocab: int = 512,
    dtype: str = "float32",
    intermediate: int = 0,
    **overrides: Any,
) -> dict[str, Any]:
    """``config.json`` of a Llama with these sizes."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": intermediate or 2 * hidden,
        "max_position_embeddings": 512,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": kv_heads,
        "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": dtype,
        "vocab_size": vocab,
    } | overrides


def llama_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Every tensor of a Llama checkpoint and its shape."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    size = config.get("head_dim") or hidden // config["num_attention_heads"]
    query, key = config["num_attention_heads"] * size, config["num_key_value_heads"] * size
    layer = {
        "self_attn.q_proj.weight": (query, hidden),
        "self_attn.k_proj.weight": (key, hidden),
        "self_attn.v_proj.weight": (key, hidden),
        "self_attn.o_proj.weight": (hidden, query),
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "mlp.down_proj.weight": (hidden, inner),
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], hidden)
    }
    for number in range(config["num_hidden_layers"]):
        shapes |= {f"model.layers.{number}.{name}": shape for name, shape in layer.items()}
    shapes["model.norm.weight"] = (hidden,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], hidden)
    return shapes


# Engine arguments with which ``make_tiny`` is served soonest.
TINY = {"dtype": "float32", "max_model_len": 128, "enforce_eager": True}


def make_tiny(folder: Path) -> Path:
    """A Llama for a real engine: vLLM's attention on the CPU has no heads smaller than 32."""
    return make_llama(folder, heads=2, kv_heads=1)


def make_llama(
    folder: Path,
    *,
    layers: int = 2,
    hidden: int = 64,
    heads: int = 4,
    kv_heads: int = 2,
    vocab: int = 512,
    dtype: str = "float32",
    sharded: bool = False,
    tokenizer: bool = True,
    chat_template: bool = True,
    seed: int = 0,
    **config_overrides: Any,
) -> Path:
    """A tiny real Llama in ``folder``; ``sharded`` gives two shards and an index."""
    folder.mkdir(parents=True, exist_ok=True)
    config = llama_config(
        layers=layers, hidden=hidden, heads=heads, kv_heads=kv_heads, vocab=vocab, dtype=dtype,
        **config_overrides,
    )  # fmt: skip
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", {"bos_token_id": 0, "eos_token_id": [2]})
    if tokenizer:
        write_tokenizer(folder, vocab, chat_template=chat_template)
    tensors = _tensors(seed, dtype, tuple(llama_shapes(config).items()))
    if sharded:
        write_sharded(folder, tensors, dtype)
    else:
        write_safetensors(folder / "model.safetensors", tensors, _NAMES[dtype])
    return folder


def write_tokenizer(
    folder: Path, vocab: int = 512, *, chat_template: bool = True, length: int = 512
) -> None:
    """``tokenizer.json``, ``tokenizer_config.json`` and ``special_tokens_map.json``."""
    (folder / "tokenizer.json").write_text(tokenizer_json(vocab), encoding="utf-8")
    special = {"bos_token": SPECIAL[0], "eos_token": SPECIAL[2], "pad_token": SPECIAL[0]}
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": length,
        "clean_up_tokenization_spaces": False,
        **special,
    }
    if chat_template:
        settings["chat_template"] = CHAT_TEMPLATE
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "special_tokens_map.json", special)


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")


def header_bytes(shapes: Mapping[str, tuple[int, ...]], dtype: str | Mapping[str, str]) -> bytes:
    """A safetensors header for tensors laid out one after another."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape in shapes.items():
        kind = dtype if isinstance(dtype, str) else dtype[name]
        size = math.prod(shape) * _WIDTH[kind]
        entries[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    body = json.dumps(entries, separators=(",", ":")).encode()
    body += b" " * (-len(body) % 8)
    return struct.pack("<Q", len(body)) + body


_WIDTH = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E8M0": 1,
    "I64": 8, "I32": 4, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray], dtype: str = "F32") -> None:
    """``tensors`` (bfloat16 as uint16 bit patterns) as one file."""
    with path.open("wb") as file:
        file.write(header_bytes({name: array.shape for name, array in tensors.items()}, dtype))
        for array in tensors.values():
            file.write(array.tobytes())


def write_sharded(folder: Path, tensors: Mapping[str, np.ndarray], dtype: str) -> None:
    """Two shards and ``model.safetensors.index.json``."""
    names = list(tensors)
    half = len(names) // 2
    weight_map: dict[str, str] = {}
    for number, part in enumerate((names[:half], names[half:]), start=1):
        shard = f"model-{number:05d}-of-00002.safetensors"
        write_safetensors(folder / shard, {name: tensors[name] for name in part}, _NAMES[dtype])
        weight_map |= dict.fromkeys(part, shard)
    total = sum(array.nbytes for array in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    write_json(folder / "model.safetensors.index.json", index)


def make_headers_only(folder: Path, params: str = "70b", *, shards: int = 30) -> Path:
    """A checkpoint of real size whose weights are holes: headers on disk, data sparse.

    ``params`` is ``70b`` (Llama-3.1-70B's shapes) or ``8b``; a few hundred kilobytes on disk.
    """
    sizes = {
        "8b": {"layers": 32, "hidden": 4096, "heads": 32, "kv_heads": 8, "intermediate": 14336},
        "70b": {"layers": 80, "hidden": 8192, "heads": 64, "kv_heads": 8, "intermediate": 28672},
    }
    folder.mkdir(parents=True, exist_ok=True)
    config = llama_config(
        **sizes[params], vocab=128256, dtype="bfloat16", max_position_embeddings=131072
    )
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", {"eos_token_id": [2]})
    write_tokenizer(folder, length=131072)
    weight_map: dict[str, str] = {}
    for number, part in enumerate(_split(llama_shapes(config), shards), start=1):
        shard = f"model-{number:05d}-of-{shards:05d}.safetensors"
        write_sparse(folder / shard, part, "BF16")
        weight_map |= dict.fromkeys(part, shard)
    write_json(folder / "model.safetensors.index.json", {"weight_map": weight_map})
    return folder


def write_sparse(
    path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str | Mapping[str, str]
) -> None:
    """A safetensors file whose data is a hole of the right length."""
    header = header_bytes(shapes, dtype)
    kinds = {name: dtype if isinstance(dtype, str) else dtype[name] for name in shapes}
    data = sum(math.prod(shape) * _WIDTH[kinds[name]] for name, shape in shapes.items())
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + data)


def make_described(
    folder: Path,
    config: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    dtype: str | Mapping[str, str] = "BF16",
) -> Path:
    """A checkpoint of any family: a config, sparse weights of these shapes, a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config)
    write_tokenizer(folder, length=10**9)
    write_sparse(folder / "model.safetensors", shapes, dtype)
    return folder


def _split(
    shapes: Mapping[str, tuple[int, ...]], parts: int
) -> Iterator[dict[str, tuple[int, ...]]]:
    names = list(shapes)
    for number in range(parts):
        chosen = names[number * len(names) // parts : (number + 1) * len(names) // parts]
        yield {name: shapes[name] for name in chosen}


@functools.lru_cache(maxsize=8)  # hundreds of tests ask for the same weights
def _tensors(
    seed: int, dtype: str, shapes: tuple[tuple[str, tuple[int, ...]], ...]
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: _weights(rng, name, shape, dtype) for name, shape in shapes}


def _weights(rng: np.random.Generator, name: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Normal weights of deviation 0.05, ones for norms."""
    if name.endswith("norm.weight"):
        array = np.ones(shape, np.float32)
    else:
        array = (rng.standard_normal(shape) * 0.05).astype(np.float32)
    if dtype == "bfloat16":
        return (array.view(np.uint32) >> 16).astype(np.uint16)
    return array.astype(dtype)

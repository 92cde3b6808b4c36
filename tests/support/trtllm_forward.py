"""A TensorRT-LLM checkpoint computed by numpy, its ranks and stages one after another.

What TensorRT-LLM's networks do with the tensors, as ``tensorrt_llm/models/*/model.py`` has it;
it shares nothing with the converter.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from support.rank_files import read_rank

Array = np.ndarray[Any, Any]
_ERF = np.vectorize(math.erf)


def _tanh_gelu(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


_ACTS: dict[str, Callable[[Array], Array]] = {
    "silu": _silu,
    "gelu": lambda x: 0.5 * x * (1 + _ERF(x / math.sqrt(2))),
    "gelu_new": _tanh_gelu,
    "gelu_pytorch_tanh": _tanh_gelu,
}


def _softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


class Network:
    """The network of ``folder``; :meth:`logits` of a prompt."""

    def __init__(self, folder: Path) -> None:
        self._config = json.loads((folder / "config.json").read_text())
        mapping, config = self._config["mapping"], self._config
        self._tp, self._pp = mapping["tp_size"], mapping["pp_size"]
        self._ranks = [_read(folder / f"rank{n}.safetensors") for n in range(self._tp * self._pp)]
        self._kind = config["architecture"].removesuffix("ForCausalLM").removesuffix("LMHeadModel")
        self._heads = config["num_attention_heads"]
        self._size = config.get("head_size") or config["hidden_size"] // self._heads
        self._table = self._rotations()

    def logits(self, ids: Array) -> Array:
        config, first, last = self._config, self._ranks[0], self._ranks[-self._tp :]
        parts = self._ranks[: self._tp] if config["use_parallel_embedding"] else [first]
        table = np.concatenate([rank["transformer.vocab_embedding.weight"] for rank in parts])
        x = table[ids]
        if self._kind == "GPT2":
            x = x + first["transformer.position_embedding.weight"][: len(ids)]
        if self._kind == "Gemma2":
            x = x * math.sqrt(config["hidden_size"])
        each = config["num_hidden_layers"] // self._pp
        for layer in range(config["num_hidden_layers"]):
            stage, number = divmod(layer, each)
            ranks = self._ranks[stage * self._tp : (stage + 1) * self._tp]
            x = self._layer(ranks, f"transformer.layers.{number}.", x)
        x = self._norm(last[0], "transformer.ln_f", x)
        if self._kind == "Gemma2":
            return _capped(x @ table.T, config["final_logit_softcapping"])
        head = np.concatenate([rank["lm_head.weight"] for rank in last])
        return (x @ head.T)[:, : config["vocab_size"]]

    def _layer(self, ranks: list[dict[str, Array]], at: str, x: Array) -> Array:
        def norm(name: str, values: Array) -> Array:
            return self._norm(ranks[0], at + name, values)

        before = norm("input_layernorm", x)
        attention = self._attention(ranks, f"{at}attention.", before)
        if self._kind == "GPTNeoX":
            return x + attention + self._mlp(ranks, at, norm("post_attention_layernorm", x))
        if self._kind == "Falcon":
            own = f"{at}mlp_layernorm.weight" in ranks[0]
            inner = norm("mlp_layernorm", x) if own else before
            return x + attention + self._mlp(ranks, at, inner)
        if self._kind == "Gemma2":
            x = x + norm("post_layernorm", attention)
            made = self._mlp(ranks, at, norm("pre_feedforward_layernorm", x))
            return x + norm("post_feedforward_layernorm", made)
        x = x + attention
        return x + self._mlp(ranks, at, norm("post_layernorm", x))

    def _norm(self, rank: dict[str, Array], name: str, x: Array) -> Array:
        weight, epsilon = rank[f"{name}.weight"], self._config.get("norm_epsilon", 1e-5)
        if self._kind in ("GPT2", "GPTNeoX", "Falcon"):
            x = x - x.mean(-1, keepdims=True)
        scaled = x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * weight
        return scaled + rank.get(f"{name}.bias", 0.0)

    def _attention(self, ranks: list[dict[str, Array]], at: str, x: Array) -> Array:
        size, count = self._size, self._heads // self._tp
        keys = max((self._config.get("num_key_value_heads") or self._heads) // self._tp, 1)
        scale = math.sqrt(self._config.get("query_pre_attn_scalar", size))
        future = np.triu(np.full((len(x), len(x)), -1e30), 1)
        total = np.zeros_like(x)
        for rank in ranks:
            qkv = x @ rank[f"{at}qkv.weight"].T + rank.get(f"{at}qkv.bias", 0.0)
            assert qkv.shape[1] == (count + 2 * keys) * size
            heads = qkv.reshape(len(x), -1, size).swapaxes(0, 1)
            q, k, v = np.split(heads, (count, count + keys))
            k, v = (np.repeat(part, count // keys, 0) for part in (self._rotated(k), v))
            scores = _capped(
                self._rotated(q) @ k.swapaxes(1, 2) / scale,
                self._config.get("attn_logit_softcapping"),
            )
            mixed = (_softmax(scores + future) @ v).swapaxes(0, 1).reshape(len(x), -1)
            total += mixed @ rank[f"{at}dense.weight"].T
        return total + ranks[0].get(f"{at}dense.bias", 0.0)

    def _mlp(self, ranks: list[dict[str, Array]], at: str, x: Array) -> Array:
        if f"{at}mlp.router.weight" not in ranks[0]:
            return self._dense(ranks, f"{at}mlp.", x)
        moe = self._config["moe"]
        weights = _softmax(x @ ranks[0][f"{at}mlp.router.weight"].T)
        chosen = np.argsort(-weights, axis=-1)[:, : moe["top_k"]]
        total = np.zeros_like(x)
        for row, experts in enumerate(chosen):
            shares = weights[row, experts]
            if moe["normalization_mode"] == 1:
                shares = shares / shares.sum()
            for rank in ranks:
                for expert, each in zip(experts, shares, strict=True):
                    up, gate = np.split(rank[f"{at}mlp.fc.weight"][expert] @ x[row], 2)
                    total[row] += each * (rank[f"{at}mlp.proj.weight"][expert] @ (up * _silu(gate)))
        if (name := f"{at}mlp.shared_expert_gate.weight") in ranks[0]:
            open_ = 1 / (1 + np.exp(-(x @ ranks[0][name].T)))
            total += open_ * self._dense(ranks, f"{at}mlp.shared_expert.", x)
        return total

    def _dense(self, ranks: list[dict[str, Array]], at: str, x: Array) -> Array:
        act, total = self._config["hidden_act"], np.zeros_like(x)
        for rank in ranks:
            made = x @ rank[f"{at}fc.weight"].T + rank.get(f"{at}fc.bias", 0.0)
            if act == "swiglu":
                up, gate = np.split(made, 2, -1)
                made = up * _silu(gate)
            else:
                made = _ACTS[act](made)
                if f"{at}gate.weight" in rank:
                    made = made * (x @ rank[f"{at}gate.weight"].T)
            total += made @ rank[f"{at}proj.weight"].T
        return total + ranks[0].get(f"{at}proj.bias", 0.0)

    def _rotations(self) -> Array | None:
        """``[positions, frequencies, (cosine, sine)]``."""
        config = self._config
        positions = config["max_position_embeddings"]
        if self._kind == "GPTNeoX":
            size = int(self._size * config["rotary_pct"])
            waves = config["rotary_emb_base"] ** -(np.arange(0, size, 2) / size)
            angles = np.arange(positions)[:, None] * waves
            return np.stack((np.cos(angles), np.sin(angles)), -1)
        table = self._ranks[0].get("embed_positions_for_gpt_attention")
        return None if table is None else table.reshape(positions, -1, 2)

    def _rotated(self, x: Array) -> Array:
        """``[heads, positions, size]`` turned by position; what is beyond the table stays."""
        if self._table is None:
            return x
        half = self._table.shape[1]
        cosines, sines = np.moveaxis(self._table[: x.shape[1]], -1, 0)
        a, b, rest = np.split(x, (half, 2 * half), -1)
        turned = (a * cosines - b * sines, b * cosines + a * sines, rest)
        return np.concatenate(turned, -1)


def _capped(x: Array, cap: float | None) -> Array:
    return np.tanh(x / cap) * cap if cap else x


def _read(path: Path) -> dict[str, Array]:
    return {
        name: np.frombuffer(content, "<f4").reshape(shape)
        for name, (_, shape, content) in read_rank(path).items()
    }

"""GGUF architectures that we convert: tables of tensor names and keys.

GGUF's names are those of llama.cpp's converter, Hugging Face's those of transformers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trtbuild.errors import UnsupportedError
from trtbuild_checkpoints.ggml.file import GgufFile

_TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_BLOCK = re.compile(r"^blk\.(\d+)\.(\w+)\.(weight|bias)$")
ROPE_FACTORS = "rope_freqs.weight"


@dataclass(frozen=True, slots=True)
class Architecture:
    """One row: a GGUF architecture in Hugging Face's terms.

    ``interleaved``: llama.cpp stores q and k with the halves of each head interleaved
    (its own rotary layout), which must be undone.
    """

    model_type: str
    hf_name: str
    interleaved: bool = False
    layer: Mapping[str, str] = field(default_factory=lambda: _LAYER)
    constants: Mapping[str, Any] = field(default_factory=dict)


ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": Architecture(
        "llama", "LlamaForCausalLM", interleaved=True, constants={"mlp_bias": False}
    ),
    "qwen2": Architecture("qwen2", "Qwen2ForCausalLM", constants={"use_sliding_window": False}),
    "qwen3": Architecture(
        "qwen3",
        "Qwen3ForCausalLM",
        layer=_LAYER | {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"},
        constants={"use_sliding_window": False},
    ),
}


def architecture_of(file: GgufFile) -> Architecture:
    """Return the row for ``file``; without one raise UnsupportedError with the known ones."""
    name = file.text("general.architecture")
    row = ARCHITECTURES.get(name)
    if row is None:
        raise UnsupportedError(
            f"{file.name} has architecture {name or 'none'!r}, which is not converted from GGUF",
            where=file.name,
            fix=f"known are {', '.join(ARCHITECTURES)}; else use the model's Hugging Face id",
        )
    if file.metadata.get(f"{name}.expert_count"):
        raise UnsupportedError(
            f"{file.name} is a mixture of experts, which is not converted from GGUF",
            where=file.name,
            fix="use the model's Hugging Face id, whose safetensors need no conversion",
        )
    return row


def hf_name(row: Architecture, name: str) -> str | None:
    """Return the Hugging Face name of a GGUF tensor, or None."""
    if name in _TOP:
        return _TOP[name]
    found = _BLOCK.match(name)
    if found is None or found[2] not in row.layer:
        return None
    return f"model.layers.{found[1]}.{row.layer[found[2]]}.{found[3]}"


def is_query_or_key(name: str) -> str:
    """Return ``q`` or ``k`` if llama.cpp interleaves the tensor, else ``""``."""
    found = _BLOCK.match(name)
    return {"attn_q": "q", "attn_k": "k"}.get(found[2], "") if found else ""

"""A tiny LLaVA: a CLIP encoder and a Llama with random weights, loadable by vLLM in seconds.

Written by hand in the names of published checkpoints, which vLLM reads; transformers 5 would save
others.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from support.checkpoints import (
    llama_config,
    llama_shapes,
    write_json,
    write_safetensors,
    write_tokenizer,
)

PLACEHOLDER = "<image>"
PATCH, SIZE, WIDTH = 14, 28, 64
_CHAT = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ '\\n' + part['text'] }}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}"
)


def make_llava(folder: Path, *, chat_template: bool = True, **changes: Any) -> Path:
    """The checkpoint in ``folder``: 4 tokens an image, 28 pixels a side."""
    folder.mkdir(parents=True, exist_ok=True)
    text = llama_config(heads=2, kv_heads=1)
    write_tokenizer(folder, chat_template=False)
    token = _add_placeholder(folder / "tokenizer.json")
    if chat_template:
        write_json(folder / "chat_template.json", {"chat_template": _CHAT})
    config = {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "image_token_index": token,
        "projector_hidden_act": "gelu",
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "image_seq_length": (SIZE // PATCH) ** 2,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "text_config": text,
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_attention_heads": 2,
            "num_hidden_layers": 2,
            "image_size": SIZE,
            "patch_size": PATCH,
            "projection_dim": WIDTH,
            "vocab_size": 512,
        },
    }
    write_json(folder / "config.json", config | changes)
    write_json(folder / "generation_config.json", {"bos_token_id": 0, "eos_token_id": [2]})
    write_json(folder / "preprocessor_config.json", _PREPROCESSOR)
    write_json(folder / "processor_config.json", _PROCESSOR)
    rng = np.random.default_rng(0)
    shapes = {f"language_model.{name}": shape for name, shape in llama_shapes(text).items()}
    tensors = {name: _random(rng, name, shape) for name, shape in {**shapes, **_SEEING}.items()}
    write_safetensors(folder / "model.safetensors", tensors)
    return folder


def _add_placeholder(path: Path) -> int:
    """Add ``<image>`` to the tokenizer as its next token; its id."""
    document = json.loads(path.read_text(encoding="utf-8"))
    known = [*document["model"]["vocab"].values(), *(t["id"] for t in document["added_tokens"])]
    token = max(known) + 1
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    document["added_tokens"].append({"id": token, "content": PLACEHOLDER, "special": True, **flags})
    path.write_text(json.dumps(document), encoding="utf-8")
    return token


def _random(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if "norm" in name and name.endswith("weight"):
        return np.ones(shape, np.float32)
    return (rng.standard_normal(shape) * 0.05).astype(np.float32)


def _seeing() -> dict[str, tuple[int, ...]]:
    """Every tensor of the encoder and of the projector."""
    tower, wide = "vision_tower.vision_model.", 2 * WIDTH
    shapes: dict[str, tuple[int, ...]] = {
        f"{tower}embeddings.class_embedding": (WIDTH,),
        f"{tower}embeddings.patch_embedding.weight": (WIDTH, 3, PATCH, PATCH),
        f"{tower}embeddings.position_embedding.weight": ((SIZE // PATCH) ** 2 + 1, WIDTH),
    }
    pairs: dict[str, tuple[int, ...]] = {
        f"{tower}pre_layrnorm": (WIDTH,),
        f"{tower}post_layernorm": (WIDTH,),
        "multi_modal_projector.linear_1": (64, WIDTH),
        "multi_modal_projector.linear_2": (64, 64),
    }
    for layer in (f"{tower}encoder.layers.{number}." for number in range(2)):
        pairs |= {f"{layer}self_attn.{name}_proj": (WIDTH, WIDTH) for name in ("q", "k", "v")}
        pairs |= {
            f"{layer}self_attn.out_proj": (WIDTH, WIDTH),
            f"{layer}mlp.fc1": (wide, WIDTH),
            f"{layer}mlp.fc2": (WIDTH, wide),
            f"{layer}layer_norm1": (WIDTH,),
            f"{layer}layer_norm2": (WIDTH,),
        }
    for name, shape in pairs.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


_SEEING = _seeing()
_PREPROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "crop_size": {"height": SIZE, "width": SIZE},
    "size": {"shortest_edge": SIZE},
    "resample": 3,
    "rescale_factor": 1 / 255,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_PROCESSOR = {
    "processor_class": "LlavaProcessor",
    "patch_size": PATCH,
    "vision_feature_select_strategy": "default",
    "num_additional_image_tokens": 1,
    "image_token": PLACEHOLDER,
}

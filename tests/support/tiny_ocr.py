"""A DeepSeek-OCR with random weights: the published names, and the sizes that vLLM fixes.

vLLM builds the two image encoders of the family from constants: SAM ViT-B, and CLIP-L or, in the
second, a Qwen2 with 400 and 460 million parameters together. So only the language model is small;
the file has 0.8 GB or 0.9 GB in bfloat16.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from support.checkpoints import header_bytes, write_json, write_tokenizer

HIDDEN, SAM, CLIP, QWEN = 128, 768, 1024, 896
ADDED = (
    "<image>", "<｜▁pad▁｜>", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>",
    "<|grounding|>", "<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>",
)  # fmt: skip
_LANGUAGE: dict[str, Any] = {
    "architectures": ["DeepseekV2ForCausalLM"],
    "model_type": "deepseek_v2",
    "bos_token_id": 0,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "use_mla": False,
    "q_lora_rank": None,
    "kv_lora_rank": None,
    "qk_nope_head_dim": 0,
    "qk_rope_head_dim": 0,
    "v_head_dim": 0,
    "intermediate_size": 2 * HIDDEN,
    "moe_intermediate_size": HIDDEN // 2,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    "topk_method": "greedy",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "torch_dtype": "bfloat16",
    "vocab_size": 640,
}


def make_ocr(folder: Path, *, second: bool = False) -> Path:
    """The checkpoint in ``folder``: DeepSeek-OCR, or DeepSeek-OCR-2."""
    name = "DeepseekOCR2ForCausalLM" if second else "DeepseekOCRForCausalLM"
    seen = QWEN if second else 2 * CLIP
    folder.mkdir(parents=True)
    write_tokenizer(folder, chat_template=False, length=2048)
    _add_tokens(folder / "tokenizer.json")
    config = {
        **_LANGUAGE,
        "architectures": [name],
        "model_type": "deepseek_vl_v2",
        "auto_map": {"AutoModel": f"modeling_deepseekocr.{name}"},
        "candidate_resolutions": [[1024, 1024]],
        "global_view_pos": "head",
        "tile_tag": "2D",
        "language_config": _LANGUAGE,
        "projector_config": {
            "model_type": "mlp_projector",
            "projector_type": "linear",
            "input_dim": seen,
            "n_embed": HIDDEN,
        },
        "vision_config": {
            "model_type": "vision",
            "model_name": "deeplip_b_l",
            "image_size": 1024,
            "mlp_ratio": 3.7362,
            "width": {
                "clip-l-14-224": {
                    "heads": 16, "image_size": 224, "layers": 24, "patch_size": 14, "width": CLIP,
                },
                "sam_vit_b": {
                    "downsample_channels": [512, 1024], "global_attn_indexes": [2, 5, 8, 11],
                    "heads": 12, "layers": 12, "width": SAM,
                },
            },
        },
    }  # fmt: skip
    write_json(folder / "config.json", config)
    write_json(
        folder / "processor_config.json",
        {"processor_class": "DeepseekVLV2Processor", "image_token": "<image>", "patch_size": 16},
    )
    encoders = {**_sam(QWEN), **_qwen()} if second else {**_sam(CLIP), **_clip()}
    _write(folder / "model.safetensors", {**encoders, **_joined(seen), **_language()})
    return folder


def _add_tokens(path: Path) -> None:
    """Add the special tokens of the family to the tokenizer, after its own."""
    document = json.loads(path.read_text(encoding="utf-8"))
    known = [*document["model"]["vocab"].values(), *(t["id"] for t in document["added_tokens"])]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    document["added_tokens"] += [
        {"id": token, "content": content, "special": True, **flags}
        for token, content in enumerate(ADDED, max(known) + 1)
    ]
    path.write_text(json.dumps(document), encoding="utf-8")


Shapes = dict[str, tuple[int, ...]]


def _linear(name: str, wide: int, narrow: int) -> Shapes:
    return {f"{name}.weight": (wide, narrow), f"{name}.bias": (wide,)}


def _norm(name: str, size: int) -> Shapes:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def _sam(wide: int) -> Shapes:
    """SAM ViT-B, whose features two more convolutions shrink to the next encoder's width."""
    at = "model.sam_model"
    shapes: Shapes = {
        f"{at}.pos_embed": (1, 64, 64, SAM),
        f"{at}.patch_embed.proj.weight": (SAM, 3, 16, 16),
        f"{at}.patch_embed.proj.bias": (SAM,),
        f"{at}.neck.0.weight": (256, SAM, 1, 1),
        **_norm(f"{at}.neck.1", 256),
        f"{at}.neck.2.weight": (256, 256, 3, 3),
        **_norm(f"{at}.neck.3", 256),
        f"{at}.net_2.weight": (512, 256, 3, 3),
        f"{at}.net_3.weight": (wide, 512, 3, 3),
    }
    for number in range(12):
        block, side = f"{at}.blocks.{number}", 64 if number in (2, 5, 8, 11) else 14
        shapes |= {f"{block}.attn.rel_pos_{axis}": (2 * side - 1, 64) for axis in "hw"}
        shapes |= _norm(f"{block}.norm1", SAM) | _norm(f"{block}.norm2", SAM)
        shapes |= _linear(f"{block}.attn.qkv", 3 * SAM, SAM)
        shapes |= _linear(f"{block}.attn.proj", SAM, SAM)
        shapes |= _linear(f"{block}.mlp.lin1", 4 * SAM, SAM)
        shapes |= _linear(f"{block}.mlp.lin2", SAM, 4 * SAM)
    return shapes


def _clip() -> Shapes:
    """CLIP-L, which gets the features of SAM in place of patches."""
    at = "model.vision_model"
    shapes: Shapes = {
        f"{at}.embeddings.class_embedding": (CLIP,),
        f"{at}.embeddings.patch_embedding.weight": (CLIP, 3, 14, 14),
        f"{at}.embeddings.position_embedding.weight": (257, CLIP),
        **_norm(f"{at}.pre_layrnorm", CLIP),
    }
    for layer in (f"{at}.transformer.layers.{number}" for number in range(24)):
        shapes |= _norm(f"{layer}.layer_norm1", CLIP) | _norm(f"{layer}.layer_norm2", CLIP)
        shapes |= _linear(f"{layer}.self_attn.qkv_proj", 3 * CLIP, CLIP)
        shapes |= _linear(f"{layer}.self_attn.out_proj", CLIP, CLIP)
        shapes |= _linear(f"{layer}.mlp.fc1", 4 * CLIP, CLIP)
        shapes |= _linear(f"{layer}.mlp.fc2", CLIP, 4 * CLIP)
    return shapes


def _qwen() -> Shapes:
    """Qwen2 in place of CLIP: a query for each token of a page or of a crop."""
    at = "model.qwen2_model"
    shapes: Shapes = {
        f"{at}.query_768.weight": (144, QWEN),
        f"{at}.query_1024.weight": (256, QWEN),
        f"{at}.model.model.norm.weight": (QWEN,),
    }
    for layer in (f"{at}.model.model.layers.{number}" for number in range(24)):
        shapes |= _linear(f"{layer}.self_attn.q_proj", QWEN, QWEN)
        shapes |= _linear(f"{layer}.self_attn.k_proj", 128, QWEN)
        shapes |= _linear(f"{layer}.self_attn.v_proj", 128, QWEN)
        shapes[f"{layer}.self_attn.o_proj.weight"] = (QWEN, QWEN)
        shapes |= _mlp(f"{layer}.mlp", 4864, QWEN)
        norms = ("input_layernorm", "post_attention_layernorm")
        shapes |= {f"{layer}.{name}.weight": (QWEN,) for name in norms}
    return shapes


def _joined(seen: int) -> Shapes:
    """The projector, and what stands at the end of a row and of an image."""
    names = ("image_newline", "view_seperator") if seen != QWEN else ("view_seperator",)
    ends = {f"model.{name}": (HIDDEN,) for name in names}
    return {**_linear("model.projector.layers", HIDDEN, seen), **ends}


def _language() -> Shapes:
    """A dense layer and one of experts, with plain multi-head attention."""
    vocab = _LANGUAGE["vocab_size"]
    shapes: Shapes = {
        "model.embed_tokens.weight": (vocab, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "lm_head.weight": (vocab, HIDDEN),
    }
    for layer in ("model.layers.0", "model.layers.1"):
        shapes |= {f"{layer}.self_attn.{one}_proj.weight": (HIDDEN, HIDDEN) for one in "qkvo"}
        norms = ("input_layernorm", "post_attention_layernorm")
        shapes |= {f"{layer}.{name}.weight": (HIDDEN,) for name in norms}
    shapes |= _mlp("model.layers.0.mlp", _LANGUAGE["intermediate_size"])
    wide, experts = _LANGUAGE["moe_intermediate_size"], "model.layers.1.mlp"
    shapes[f"{experts}.gate.weight"] = (_LANGUAGE["n_routed_experts"], HIDDEN)
    shapes |= _mlp(f"{experts}.shared_experts", _LANGUAGE["n_shared_experts"] * wide)
    for number in range(_LANGUAGE["n_routed_experts"]):
        shapes |= _mlp(f"{experts}.experts.{number}", wide)
    return shapes


def _mlp(name: str, wide: int, narrow: int = HIDDEN) -> Shapes:
    return {
        f"{name}.gate_proj.weight": (wide, narrow),
        f"{name}.up_proj.weight": (wide, narrow),
        f"{name}.down_proj.weight": (narrow, wide),
    }


def _write(path: Path, shapes: Shapes) -> None:
    """Write the tensors one after another, so that none but one is in memory."""
    with path.open("wb") as file:
        file.write(header_bytes(shapes, "BF16"))
        for values in _values(shapes):
            file.write((values.view(np.uint32) >> 16).astype(np.uint16).tobytes())


def _values(shapes: Shapes) -> Iterator[np.ndarray]:
    """Random weights that keep the size of what they multiply; norms that do nothing."""
    random = np.random.default_rng(0)
    for name, shape in shapes.items():
        if len(shape) == 1 and name.endswith(".weight"):
            yield np.ones(shape, np.float32)
            continue
        wide = math.prod(shape[1:]) if len(shape) > 1 and name.endswith(".weight") else 100
        scale = 1.0 if name == "model.embed_tokens.weight" else wide**-0.5
        yield random.standard_normal(shape, np.float32) * np.float32(scale)

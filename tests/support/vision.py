"""Vision-language checkpoints of real shapes: what their published files say, without weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from support.checkpoints import llama_config, llama_shapes, make_described, write_json
from support.specs import llama_8b
from trtbuild.modelspec import ModelSpec, SourceRef, Task
from trtbuild.toolchain import vision_of_table

_QWEN = {"patch_size": 14, "merge_size": 2, "temporal_patch_size": 2}
# architecture -> (the top of config.json, preprocessor_config.json), as published
PUBLISHED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "LlavaForConditionalGeneration": (
        {
            "model_type": "llava",
            "vision_feature_select_strategy": "default",
            "vision_config": {"image_size": 336, "patch_size": 14},
        },
        {"image_processor_type": "CLIPImageProcessor"},
    ),
    "LlavaNextForConditionalGeneration": (
        {
            "model_type": "llava_next",
            "vision_config": {"image_size": 336, "patch_size": 14},
            "image_grid_pinpoints": [
                [336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008],
            ],
        },
        {"image_processor_type": "LlavaNextImageProcessor"},
    ),
    "Qwen2_5_VLForConditionalGeneration": (
        {"model_type": "qwen2_5_vl", "vision_config": {"patch_size": 14}},
        {**_QWEN, "min_pixels": 3136, "max_pixels": 12845056},
    ),
    "Qwen3VLForConditionalGeneration": (
        {"model_type": "qwen3_vl", "vision_config": {"patch_size": 16}},
        {**_QWEN, "patch_size": 16, "size": {"longest_edge": 16777216, "shortest_edge": 65536}},
    ),
    "Gemma3ForConditionalGeneration": (
        {"model_type": "gemma3", "mm_tokens_per_image": 256, "vision_config": {"image_size": 896}},
        {"image_seq_length": 256},
    ),
    "InternVLChatModel": (
        {
            "model_type": "internvl_chat",
            "force_image_size": 448,
            "downsample_ratio": 0.5,
            "max_dynamic_patch": 12,
            "vision_config": {"image_size": 448, "patch_size": 14},
        },
        {"image_processor_type": "CLIPFeatureExtractor"},
    ),
    "InternVLForConditionalGeneration": (
        {
            "model_type": "internvl",
            "image_seq_length": 256,
            "vision_config": {"image_size": [448, 448], "patch_size": [14, 14]},
        },
        {"max_patches": 12},
    ),
    "DeepseekOCRForCausalLM": (
        {"model_type": "deepseek_vl_v2", "vision_config": {"image_size": 1024}},
        {},
    ),
    "DeepseekOCR2ForCausalLM": (
        {"model_type": "deepseek_vl_v2", "vision_config": {"image_size": 1024}},
        {},
    ),
}  # fmt: skip


def make_published(folder: Path, architecture: str, **changes: Any) -> Path:
    """A checkpoint with the files of a published one, sparse weights and a vision encoder."""
    top, processor = PUBLISHED[architecture]
    text = llama_config(dtype="bfloat16", max_position_embeddings=32768)
    config = {"architectures": [architecture], "text_config": text, **top, **changes}
    shapes = {
        **llama_shapes(text),
        "vision_tower.patch_embedding.weight": (64, 3, 14, 14),
        "multi_modal_projector.linear_1.weight": (64, 64),
    }
    make_described(folder, config, shapes)
    write_json(folder / "preprocessor_config.json", processor)
    return folder


def vision_spec(architecture: str = "DeepseekOCRForCausalLM", **changes: Any) -> ModelSpec:
    """The spec of a vision-language checkpoint."""
    vision = vision_of_table(architecture)
    assert vision is not None
    if tokens := changes.pop("image_tokens", 0):
        vision = replace(vision, image_tokens=tokens)
    return llama_8b(
        source=SourceRef("local", "seer"),
        architecture=architecture,
        task=Task.VISION_LANGUAGE,
        vision=vision,
        **changes,
    )

"""How a vision-language checkpoint takes images, from its files and the table of families."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from trtbuild import toolchain
from trtbuild.checkpoint.code import PROCESSORS
from trtbuild.checkpoint.model import Checkpoint
from trtbuild.checkpoint.problems import json_object
from trtbuild.modelspec.vision import Vision

_PARTS = ("vision", "visual", "projector", "image_newline", "mlp1", "sam_model", "connector")
_LARGEST = 1 << 20
Settings = Mapping[str, Any]


def vision_of(checkpoint: Checkpoint, architecture: str) -> Vision:
    """Return how a vision-language checkpoint takes images."""
    family = toolchain.vision_family(architecture)
    parameters = sum(
        math.prod(info.shape) for name, info in checkpoint.tensors.items() if _is_vision(name)
    )
    return replace(
        toolchain.vision_of_table(architecture) or Vision(),
        image_tokens=_tokens(family.tokens, checkpoint, architecture) if family else 0,
        encoder_parameters=parameters,
        processor=any(checkpoint.has(name) for name in PROCESSORS),
    )


def _is_vision(name: str) -> bool:
    """Whether a tensor belongs to the encoder or its projector, by the names families use."""
    return any(part in name for part in _PARTS)


def _tokens(kind: str, checkpoint: Checkpoint, architecture: str) -> int:
    """Return the most tokens of one image, 0 if a file has no sensible numbers."""
    rule = _RULES.get(kind)
    if rule is None:
        return 0
    try:
        found = rule(checkpoint.config, _processor(checkpoint), architecture)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError, LookupError):
        return 0
    return int(found) if 0 < found < _LARGEST else 0


def _processor(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the settings of all processor files together; that of the images counts last."""
    found: dict[str, Any] = {}
    for name in ("processor_config.json", "preprocessor_config.json"):
        raw = checkpoint.read_bytes(name)
        document = {} if raw is None else json_object(raw, name)
        inner = document.get("image_processor")
        found |= document | (inner if isinstance(inner, dict) else {})
    return found


def _side(value: Any) -> int:
    """Return a size that is a number, a pair or ``{"height": …}``."""
    if isinstance(value, dict):
        value = value.get("height", value.get("shortest_edge"))
    return int(value[0] if isinstance(value, list) else value)


def _grid(config: Settings) -> int:
    """Return how many patches the encoder sees along a side."""
    vision = config["vision_config"]
    return _side(vision["image_size"]) // _side(vision["patch_size"])


def _patches(config: Settings, _: Settings, __: str) -> int:
    """LLaVA: a token for each patch, and one more where the class token is kept."""
    full = config.get("vision_feature_select_strategy") == "full"
    grid = _grid(config)
    return grid * grid + full


def _tiles(config: Settings, _: Settings, __: str) -> int:
    """LLaVA-NeXT: the whole image, its tiles at the largest grid, and a newline for each row."""
    side, size = _grid(config), _side(config["vision_config"]["image_size"])
    largest = config["image_grid_pinpoints"]
    grids = [(int(height) // size, int(width) // size) for height, width in largest]
    return side * side + max(rows * side * (columns * side + 1) for rows, columns in grids)


def _fixed(config: Settings, processor: Settings, _: str) -> int:
    """Gemma 3: a constant, between two tokens and blank lines."""
    return int(config.get("mm_tokens_per_image") or processor["image_seq_length"]) + 4


def _crops(config: Settings, processor: Settings, architecture: str) -> int:
    """InternVL: up to so many crops and a thumbnail, each of a constant number of tokens."""
    if architecture == "InternVLChatModel":
        size = _side(config.get("force_image_size") or config["vision_config"]["image_size"])
        patches = size // _side(config["vision_config"]["patch_size"])
        one = int((patches * float(config.get("downsample_ratio", 0.5))) ** 2)
        most = int(config.get("max_dynamic_patch", 12))
    else:
        one = int(config.get("image_seq_length") or processor["image_seq_length"])
        most = int(processor.get("max_patches", 12))
    return one * (most + (most > 1)) + 2


def _pixels(config: Settings, processor: Settings, _: str) -> int:
    """Qwen: as many merged patches as the largest image has."""
    patch = int(processor.get("patch_size") or config["vision_config"]["patch_size"])
    unit = patch * int(processor.get("merge_size", 2))
    size = processor.get("size")
    edge = size.get("longest_edge") if isinstance(size, dict) else None
    most = processor.get("max_pixels") or edge or 1280 * 28 * 28
    return int(most) // (unit * unit) + 2


def _deepseek_ocr(_: Settings, __: Settings, architecture: str) -> int:
    """DeepSeek-OCR: a view of 1024 pixels and up to six crops of 640 (768 in the second).

    Both sizes are constants of vLLM's, and a token stands for 64 pixels of a side.
    """
    second = architecture == "DeepseekOCR2ForCausalLM"
    whole, crop, line = 16, (12 if second else 10), (0 if second else 1)
    grids = [(rows, n // rows) for n in range(2, 7) for rows in range(1, n + 1) if n % rows == 0]
    crops = max(rows * crop * (columns * crop + line) for rows, columns in grids)
    return whole * (whole + line) + crops + 1


_RULES: Mapping[str, Callable[[Settings, Settings, str], int]] = {
    "crops": _crops,
    "deepseek-ocr": _deepseek_ocr,
    "fixed": _fixed,
    "patches": _patches,
    "pixels": _pixels,
    "tiles": _tiles,
}

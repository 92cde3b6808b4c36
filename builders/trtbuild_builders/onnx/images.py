"""Image classifiers as graphs: tensors, what their job adds, and why one cannot be served."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from packaging.version import Version

from trtbuild.builder import Case
from trtbuild.toolchain import Toolchain
from trtbuild_builders.text.settings import head_of
from trtbuild_builders.text.tensors import Row, row

PIXELS = "pixel_values"
SHAPE = (3, -1, -1)
"""Of one image, until the conversion has read its size."""
PROCESSORS: Mapping[str, str] = {
    "BeitImageProcessor": "",
    "BitImageProcessor": "",
    "CLIPImageProcessor": "",
    "ConvNextImageProcessor": "convnext",
    "DeiTImageProcessor": "",
    "EfficientNetImageProcessor": "efficientnet",
    "LevitImageProcessor": "levit",
    "MobileNetV1ImageProcessor": "",
    "MobileNetV2ImageProcessor": "",
    "MobileViTImageProcessor": "mobilevit",
    "PvtImageProcessor": "",
    "SiglipImageProcessor": "",
    "ViTImageProcessor": "",
}
"""Image processors of transformers 5.19 that resize, crop, scale and normalize, and which of them
do it in a way of their own (``templates/onnx/export/preparing.py``)."""
_PYTHONS = ("3.11", "3.12")  # of the embedded server; Triton's images since 24.12 have 3.12
_FILE = "preprocessor_config.json"


def image_reasons(case: Case) -> Iterator[str]:
    """Return why the images of a checkpoint cannot be prepared."""
    old, checkpoint = case.toolchain.python, case.checkpoint
    if old and Version(old) < Version(_PYTHONS[0]):
        yield (
            f"Triton {case.toolchain.triton} has Python {old}, and the Pillow that prepares images "
            f"needs {_PYTHONS[0]}: use --triton 24.12 or newer"
        )
    raw = checkpoint.read_bytes(_FILE) if checkpoint else None
    if checkpoint and raw is None:
        yield f"the checkpoint has no {_FILE}, which says how images are resized: fetch it"
        return
    name = _processor(raw or b"")
    if name and name not in PROCESSORS:
        yield (
            f"{_FILE} names {name}, which does more than resize, crop and normalize: use --backend "
            "torch"
        )


def _processor(raw: bytes) -> str:
    """Return the class without the suffix of an implementation; empty if the file names none."""
    try:
        said = json.loads(raw or b"{}")
    except ValueError:
        return ""
    found = said if isinstance(said, dict) else {}
    name = str(found.get("image_processor_type") or found.get("feature_extractor_type") or "")
    name = name.replace("FeatureExtractor", "ImageProcessor")
    return name.removesuffix("Fast").removesuffix("Pil")


def image_job(toolchain: Toolchain) -> dict[str, Any]:
    """Return what the job of an image classifier has beside that of a text model."""
    return {
        "processors": dict(PROCESSORS),
        "pythons": sorted({*_PYTHONS, toolchain.python or _PYTHONS[-1]}),
    }


def image_tensors(case: Case) -> tuple[list[Row], list[Row]]:
    """Return public inputs and outputs: those of the builder torch."""
    labels = len(head_of(case).labels) or -1
    outputs = [row("scores", "TYPE_FP32", labels), row("label", "TYPE_STRING", 1)]
    return [row("image", "TYPE_STRING", 1)], outputs

"""What the builder onnx makes of images, against transformers' image processors.

Run by a Python that has transformers; exits with 1 and the name of a processor that differs:

    python image_processors.py JOB.json
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# More settings for each class: those of its defaults that differ in published checkpoints.
MORE: dict[str, list[dict[str, Any]]] = {
    "ConvNextImageProcessor": [{"size": {"shortest_edge": 224}, "crop_pct": 0.95}],
    "EfficientNetImageProcessor": [{"rescale_offset": True, "include_top": False}],
    "ViTImageProcessor": [{"do_normalize": False}, {"do_resize": False, "do_center_crop": True,
        "crop_size": {"height": 47, "width": 60}}],
    "CLIPImageProcessor": [{"size": 64, "crop_size": 80}],
}  # fmt: skip


def main(path: str) -> None:
    """Compare every class of the job on images of several shapes."""
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    for part in ("onnx/export", "onnx/images", "text/model", "shared"):
        sys.path.insert(0, str(Path(job["templates"]) / part))
    import numpy as np
    import onnx_images
    import preparing
    from transformers import AutoImageProcessor

    for name in job["processors"]:
        for more in ({}, *MORE.get(name, [])):
            with tempfile.TemporaryDirectory() as folder:
                said = {"image_processor_type": name, **more}
                (Path(folder) / "preprocessor_config.json").write_text(json.dumps(said))
                how, shape = preparing.how(folder, job["processors"])
                processor = AutoImageProcessor.from_pretrained(folder, use_fast=False)
            for picture in _pictures():
                wanted = processor(picture, return_tensors="np")["pixel_values"][0]
                found = onnx_images.pixels(picture, how)
                same = list(found.shape) == shape == list(wanted.shape)
                off = float(np.abs(found - wanted).max()) if same else float("inf")
                if off > 1e-5:
                    sys.exit(f"{name} {more} of {picture.size}: off by {off}")


def _pictures() -> Iterator[Any]:
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(7)
    for height, width in ((40, 97), (301, 40), (20, 21)):
        yield Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


if __name__ == "__main__":
    main(sys.argv[1])

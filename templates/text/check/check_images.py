"""Images as they will be labelled, against transformers' own classes."""

import base64
import io

import numpy as np
import torch
from accuracy import conclude, say
from compare import compared


def check(folder, out, served, limits):
    """Compare every image alone and all in one request; ``served`` is an ImageRows."""
    import request_images
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    say(step="computing the reference")
    files = pictures()
    names = [f"image {at}" for at in range(len(files))]
    safe = {"trust_remote_code": False, "local_files_only": True}
    model = AutoModelForImageClassification.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, **safe
    ).eval()
    processor = AutoImageProcessor.from_pretrained(folder, use_fast=False, **safe)
    with torch.inference_mode():
        wanted = [
            model(**processor(request_images.rgb(data), return_tensors="pt")).logits[0].numpy()
            for data in map(base64.b64decode, files)
        ]
    rows = {
        "alone": [served.run(served.pixels([one]))[0] for one in files],
        "in a batch": served.run(served.pixels(files)),
    }
    found = compared("", names, wanted, rows, limits)
    found.rows = [("", item, row) for item, (_, _, row) in zip(files, found.rows, strict=True)]
    conclude(out, found, limits)


def pictures():
    """Images of several kinds: wide, high, grey and transparent; base64 of PNG files."""
    from PIL import Image

    noise = np.random.default_rng(1)
    x, y = np.meshgrid(np.arange(96), np.arange(40))
    wide = np.stack([x * 2, y * 6, (x + y) % 256], axis=2)
    high = noise.integers(0, 256, (90, 31, 3))
    grey = noise.integers(0, 256, (20, 20))
    clear = np.concatenate([wide[:, :40], (x[:, :40, None] * 6) % 256], axis=2)
    made = []
    for array in (wide, high, grey, clear):
        file = io.BytesIO()
        Image.fromarray(array.astype(np.uint8)).save(file, "PNG")
        made.append(base64.b64encode(file.getvalue()).decode())
    return made

"""Images through a checkpoint's own preprocessing and module."""

import numpy as np
import request_images
import torch
from text_rows import Refused
from text_tasks import Work, image_labels
from torch_place import groups, loading


class Images:
    """An image classifier: resized and normalized as preprocessor_config.json says."""

    def __init__(self, folder, settings, place):
        from transformers import AutoImageProcessor, AutoModelForImageClassification

        self._settings, self._place = settings, place
        # Pillow resizes everywhere alike; torchvision's answers differ from it a little.
        self._processor = AutoImageProcessor.from_pretrained(
            folder, use_fast=False, trust_remote_code=False, local_files_only=True
        )
        self._module = place.put(
            AutoModelForImageClassification.from_pretrained(folder, **loading(place))
        )

    def pixels(self, values):
        """What the module takes, of the base64 texts of a request's images."""
        try:
            pictures = request_images.pictures(values)
        except request_images.ImageError as error:
            raise Refused(str(error)) from None
        return [self._processor(one, return_tensors="np")["pixel_values"][0] for one in pictures]

    @torch.inference_mode()
    def run(self, pixels):
        """A row of logits for each image; images of one size are computed together."""
        found = [None] * len(pixels)
        shapes = {}
        for at, one in enumerate(pixels):
            shapes.setdefault(one.shape, []).append(at)
        for places in shapes.values():
            for group in groups(places, self._settings["items"]):
                batch = self._place.tensor(np.stack([pixels[at] for at in group]))
                logits = self._module(pixel_values=batch).logits.to("cpu", torch.float32).numpy()
                for at, row in zip(group, logits, strict=True):
                    found[at] = row
        return found


def prepare(images, settings, values, asked):
    """The work of a request with the images ``values``, and their pixels."""
    if not len(values):
        raise Refused("the request has no image: send at least one")
    answer = image_labels(settings, asked)
    return Work([], "NONE", lambda rows, _: answer(rows)), images.pixels(values)

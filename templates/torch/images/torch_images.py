"""Images through a checkpoint's own preprocessing and module."""

import torch
from image_rows import ImageRows
from torch_place import loading


class Images(ImageRows):
    """An image classifier: resized and normalized as preprocessor_config.json says."""

    def __init__(self, folder, settings, place):
        from transformers import AutoImageProcessor, AutoModelForImageClassification

        super().__init__(settings["items"])
        self._place = place
        # Pillow resizes everywhere alike; torchvision's answers differ from it a little.
        self._processor = AutoImageProcessor.from_pretrained(
            folder, use_fast=False, trust_remote_code=False, local_files_only=True
        )
        self._module = place.put(
            AutoModelForImageClassification.from_pretrained(folder, **loading(place))
        )

    def array(self, picture):
        """The pixels, by transformers' image processor."""
        return self._processor(picture, return_tensors="np")["pixel_values"][0]

    @torch.inference_mode()
    def logits(self, batch):
        """The module's logits."""
        found = self._module(pixel_values=self._place.tensor(batch)).logits
        return found.to("cpu", torch.float32).numpy()

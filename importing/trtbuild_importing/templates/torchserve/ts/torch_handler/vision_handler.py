"""The base class of handlers of images."""

import base64
import io

import numpy as np
from PIL import Image

from ts.torch_handler.base_handler import BaseHandler


class VisionHandler(BaseHandler):
    """Reads images: as bytes, as base64 text, or as lists of numbers."""

    def preprocess(self, data):
        """Return a batch of images."""
        images = [self._image(row) for row in data]
        if hasattr(images[0], "detach"):
            import torch

            return torch.stack(images).to(self.device)
        return np.stack(images)

    def _image(self, row):
        image = row.get("data") if row.get("data") is not None else row.get("body")
        if isinstance(image, str):
            image = base64.b64decode(image)
        if isinstance(image, (bytes, bytearray)):
            return self.image_processing(Image.open(io.BytesIO(image)))
        return np.asarray(image, dtype=np.float32)

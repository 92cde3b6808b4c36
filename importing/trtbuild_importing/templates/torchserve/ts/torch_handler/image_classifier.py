"""The handler of image classifiers, with Pillow and NumPy."""

import numpy as np
from PIL import Image

from ts.torch_handler.vision_handler import VisionHandler
from ts.utils.util import map_class_to_label

_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)


class ImageClassifier(VisionHandler):
    """Names the likeliest classes of an image."""

    topk = 5

    def image_processing(self, image):
        """Return an image as ImageNet's models take it (3, 224, 224)."""
        width, height = image.size
        scale = 256 / min(width, height)
        size = (256, int(height * scale)) if width <= height else (int(width * scale), 256)
        image = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
        left, top = (round((side - 224) / 2) for side in size)
        image = image.crop((left, top, left + 224, top + 224))
        values = np.asarray(image, dtype=np.float32) / 255
        return ((values - _MEAN) / _DEVIATION).transpose(2, 0, 1)

    def set_max_result_classes(self, topk):
        """Set how many classes are named."""
        self.topk = topk

    def get_max_result_classes(self):
        """Return how many classes are named."""
        return self.topk

    def postprocess(self, data):
        """Return the probabilities of the likeliest classes, by name."""
        scores = np.asarray(data.cpu() if hasattr(data, "cpu") else data, dtype=np.float32)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares = powers / powers.sum(axis=1, keepdims=True)
        best = np.argsort(-shares, axis=1, kind="stable")[:, : self.topk]
        found = np.take_along_axis(shares, best, axis=1)
        return map_class_to_label(found.tolist(), self.mapping, best.tolist())

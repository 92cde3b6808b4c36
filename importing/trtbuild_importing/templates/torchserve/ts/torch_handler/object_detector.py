"""The handler of models that find objects in an image."""

import numpy as np

from ts.torch_handler.vision_handler import VisionHandler
from ts.utils.util import map_class_to_label


class ObjectDetector(VisionHandler):
    """Names the objects with their boxes; the model gives a dictionary for each image."""

    threshold = 0.5

    def image_processing(self, image):
        """Return an image as it is, with channels first, from 0 to 1."""
        values = np.asarray(image.convert("L") if image.mode == "1" else image)
        scaled = values.astype(np.float32) / (255 if values.dtype == np.uint8 else 1)
        return scaled[None] if scaled.ndim == 2 else scaled.transpose(2, 0, 1)

    def postprocess(self, data):
        """Return the objects that the model is sure of, with their boxes and scores."""
        return [self._found(row) for row in data]

    def _found(self, row):
        boxes, labels, scores = (row[name].tolist() for name in ("boxes", "labels", "scores"))
        found = []
        for box, label, score in zip(boxes, labels, scores):  # noqa: B905
            if score >= self.threshold:
                (named,) = map_class_to_label([[box]], self.mapping, [[label]])
                found.append({**named, "score": score})
        return found

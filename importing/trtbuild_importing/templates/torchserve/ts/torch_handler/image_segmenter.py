"""The handler of models that divide an image into classes."""

import numpy as np

from ts.torch_handler.image_classifier import ImageClassifier


class ImageSegmenter(ImageClassifier):
    """Names the likeliest class of each pixel; images are prepared as for a classifier."""

    def postprocess(self, data):
        """Return the class and its probability for each pixel, from the model's ``out``."""
        found = data["out"]
        scores = np.asarray(found.cpu() if hasattr(found, "cpu") else found, dtype=np.float32)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares = powers / powers.sum(axis=1, keepdims=True)
        best = shares.argmax(axis=1)
        return np.stack([best.astype(np.float32), shares.max(axis=1)], axis=3).tolist()

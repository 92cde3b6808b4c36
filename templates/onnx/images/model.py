"""A checkpoint's public model: images in, labels out. Its graph is the model beside it.

Written by trtbuild; what it does is in settings.json. Images of all requests that Triton hands over
together are sent to the graph in batches.
"""

import sys
from functools import partial
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE / "site")]

import onnx_core  # noqa: E402
from image_rows import prepare  # noqa: E402
from item_model import ItemModel  # noqa: E402
from onnx_images import Images  # noqa: E402


class TritonPythonModel(ItemModel):
    """A row of logits for each image."""

    def load(self, folder, instance):  # noqa: ARG002
        """What prepares images and calls the model beside this one."""
        self._images = Images(self.settings, partial(onnx_core.ask, self.settings))
        return self._images

    def prepare(self, arrays, asked):
        """The pixels of a request's images."""
        return prepare(self._images, self.settings, arrays["image"].reshape(-1), asked)

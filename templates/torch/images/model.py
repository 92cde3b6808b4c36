"""A checkpoint's public model: images in, labels out, computed by transformers' own code.

Written by trtbuild; what it does is in settings.json.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent)]

from image_rows import prepare  # noqa: E402
from item_model import ItemModel  # noqa: E402
from torch_images import Images  # noqa: E402
from torch_place import place_of  # noqa: E402


class TritonPythonModel(ItemModel):
    """A row of logits for each image."""

    def load(self, folder, instance):
        """The image classifier."""
        place = place_of(self.settings, instance)
        self._images = Images(folder / self.settings["weights"], self.settings, place)
        return self._images

    def prepare(self, arrays, asked):
        """The pixels of a request's images."""
        return prepare(self._images, self.settings, arrays["image"].reshape(-1), asked)

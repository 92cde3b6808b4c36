"""A checkpoint's public model: recordings in, text out, computed by transformers' own code.

Written by trtbuild; what it does is in settings.json. Long recordings are cut into windows of the
model's length at quiet places, and windows of all requests are computed together.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent)]

from item_model import ItemModel  # noqa: E402
from torch_place import place_of  # noqa: E402
from torch_speech import Speech, prepare  # noqa: E402


class TritonPythonModel(ItemModel):
    """A text for each recording."""

    def load(self, folder, instance):
        """The speech model."""
        place = place_of(self.settings, instance)
        self._speech = Speech(folder / self.settings["weights"], self.settings, place)
        return self._speech

    def prepare(self, arrays, asked):
        """The samples of a request's recordings."""
        return prepare(self._speech, self.settings, arrays, asked)

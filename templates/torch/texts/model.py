"""A checkpoint's public model: text in, the task's answer out, computed by transformers' own code.

Written by trtbuild; what it does is in settings.json. Texts of all requests that Triton hands over
together are sorted by length and computed in batches with little padding.
"""

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE)]

from text_model import TextModel  # noqa: E402
from torch_place import place_of  # noqa: E402
from torch_texts import Body  # noqa: E402


class TritonPythonModel(TextModel):
    """The rows of a batch are those of a module of PyTorch."""

    def initialize(self, args):
        """Read the settings and the tokenizer, then load the weights."""
        super().initialize(args)
        place = place_of(self.settings, args.get("model_instance_name", ""))
        self._body = Body(_HERE / self.settings["weights"], self.settings, place)

    def core(self, inputs):
        """Compute a padded batch."""
        return self._body(inputs)

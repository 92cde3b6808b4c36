"""The serving loop of texts, for images and recordings: other inputs, other items."""

import json
from pathlib import Path

import triton_python_backend_utils as pb_utils
from text_model import TextModel
from text_rows import read_settings

_HERE = Path(__file__).resolve().parent


class ItemModel(TextModel):
    """What the Python backend calls; a subclass has ``load`` and ``prepare``."""

    def initialize(self, args):
        """Read the settings, then load the weights."""
        self.settings = read_settings(_HERE)
        self._inputs = [row["name"] for row in json.loads(args["model_config"])["input"]]
        self._rows = self.load(_HERE, args.get("model_instance_name", ""))

    def prepared(self, request):
        """The work of a request, and its items."""
        tensors = {name: pb_utils.get_input_tensor_by_name(request, name) for name in self._inputs}
        arrays = {name: one.as_numpy() for name, one in tensors.items() if one is not None}
        return self.prepare(arrays, json.loads(request.parameters() or "{}"))

    def load(self, folder, instance):
        """What computes a row for each item in ``run``; ``instance`` is Triton's name of it."""
        raise NotImplementedError

    def prepare(self, arrays, asked):
        """The work of a request, and its items; Refused for a wrong request."""
        raise NotImplementedError

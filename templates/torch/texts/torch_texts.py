"""Padded batches of tokens through a checkpoint's module."""

import text_heads
import torch


class Body:
    """A checkpoint's module; called with arrays by name it returns a row for each text."""

    def __init__(self, folder, settings, place):
        self._place = place
        module = text_heads.load(
            folder, settings["head"], settings["graph"], dtype=place.dtype, attention=None
        )
        self._module = place.put(module)
        for name in text_heads.inputs(folder, module, settings):
            settings["inputs"].setdefault(name, 0)

    @torch.inference_mode()
    def __call__(self, inputs):
        """The rows of a padded batch."""
        tensors = {name: self._place.tensor(array) for name, array in inputs.items()}
        (rows,) = self._module(**tensors).values()
        return rows.to("cpu", torch.float32).numpy()

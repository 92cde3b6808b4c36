"""A checkpoint's public model: text in, the task's answer out. Its graph is the model beside it.

Written by trtbuild; what it does is in settings.json. Texts of all requests that Triton hands over
together are sorted by length and sent to the graph in batches with little padding.
"""

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE / "site")]

import onnx_core  # noqa: E402
from text_model import TextModel  # noqa: E402


class TritonPythonModel(TextModel):
    """The rows of a batch are those of the graph."""

    def core(self, inputs):
        """Call the model beside this one."""
        return onnx_core.ask(self.settings, inputs)

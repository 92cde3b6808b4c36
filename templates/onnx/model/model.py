"""A checkpoint's public model: text in, the task's answer out. Its graph is the model beside it.

Written by trtbuild; what it does is in settings.json. Texts of all requests that Triton hands over
together are sorted by length and sent to the graph in batches with little padding.
"""

import sys
from pathlib import Path

import triton_python_backend_utils as pb_utils

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE / "site")]

from text_model import TextModel  # noqa: E402


class TritonPythonModel(TextModel):
    """The rows of a batch are those of the graph."""

    def core(self, inputs):
        """Call the model beside this one."""
        request = pb_utils.InferenceRequest(
            model_name=self.settings["core"],
            requested_output_names=[self.settings["output"]],
            inputs=[pb_utils.Tensor(name, array) for name, array in inputs.items()],
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        )
        response = request.exec()
        if response.has_error():
            raise RuntimeError(f"{self.settings['core']}: {response.error().message()}")
        return pb_utils.get_output_tensor_by_name(response, self.settings["output"]).as_numpy()

"""A checkpoint's public model: text in, the task's answer out. Its graph is the model beside it.

Written by trtbuild; what it does is in settings.json. Texts of all requests that Triton hands over
together are sorted by length and sent to the graph in batches with little padding.
"""

import json
import sys
from pathlib import Path

import triton_python_backend_utils as pb_utils

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE / "site")]

from text_rows import Refused, Rows, Texts, read_settings  # noqa: E402
from text_tasks import prepare  # noqa: E402


class TritonPythonModel:
    """What the Python backend calls."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config):
        """Complete nothing: config.pbtxt has every tensor."""
        return auto_complete_model_config

    def initialize(self, args):
        """Read the settings and the tokenizer."""
        self._settings = read_settings(_HERE)
        self._inputs = [row["name"] for row in json.loads(args["model_config"])["input"]]
        self._texts = Texts(_HERE, self._settings)
        self._rows = Rows(self._settings, self._core)

    def execute(self, requests):
        """Answer each request once; one that is wrong does not disturb the others."""
        responses = [None] * len(requests)
        taken = []
        for at, request in enumerate(requests):
            try:
                taken.append((at, *self._prepared(request)))
            except Refused as error:
                responses[at] = _failed(error, "INVALID_ARG")
        encodings = [one for _, _, found, _ in taken for one in found]
        skips = [skip for _, _, found, skip in taken for _ in found]
        try:
            rows = self._rows.run(encodings, skips) if encodings else []
        except Exception as error:
            for at, *_ in taken:
                responses[at] = _failed(error)
            return responses
        start = 0
        for at, work, found, _ in taken:
            counts = [len(one.ids) for one in found]
            tensors = work.answer(rows[start : start + len(found)], counts)
            start += len(found)
            wanted = requests[at].requested_output_names()
            responses[at] = pb_utils.InferenceResponse(
                [pb_utils.Tensor(name, value) for name, value in tensors.items() if name in wanted]
            )
        return responses

    def _prepared(self, request):
        """The work of a request, its tokens, and how many of each the prompt has."""
        columns = {}
        for name in self._inputs:
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            if tensor is not None:
                columns[name] = _decoded(name, tensor.as_numpy())
        work = prepare(self._settings, columns, json.loads(request.parameters() or "{}"))
        skip = self._texts.skipped(work.prompt) if work.prompt else 0
        return work, self._texts.encode(work.items, work.truncate), skip

    def _core(self, inputs):
        request = pb_utils.InferenceRequest(
            model_name=self._settings["core"],
            requested_output_names=[self._settings["output"]],
            inputs=[pb_utils.Tensor(name, array) for name, array in inputs.items()],
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        )
        response = request.exec()
        if response.has_error():
            raise RuntimeError(f"{self._settings['core']}: {response.error().message()}")
        return pb_utils.get_output_tensor_by_name(response, self._settings["output"]).as_numpy()


def _decoded(name, array):
    try:
        return [value.decode("utf-8") for value in array.reshape(-1)]
    except (UnicodeDecodeError, AttributeError):
        raise Refused(f"{name} is not UTF-8 text") from None


def _failed(error, code="INTERNAL"):
    # The stub adds its own names to pb_utils after this module was imported.
    errors = pb_utils.TritonError
    text = str(error).encode("utf-8", "backslashreplace").decode("utf-8")
    return pb_utils.InferenceResponse(error=errors(text, getattr(errors, code)))

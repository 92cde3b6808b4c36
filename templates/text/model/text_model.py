"""A served text model: requests in, the task's answers out. Only the numbers come from elsewhere.

Written by trtbuild; what it does is in settings.json. Texts of all requests that Triton hands over
together are sorted by length and computed in batches with little padding.
"""

import json
from pathlib import Path

import triton_python_backend_utils as pb_utils
from text_rows import Refused, Rows, Texts, read_settings
from text_tasks import prepare

_HERE = Path(__file__).resolve().parent


class TextModel:
    """What the Python backend calls, but for the numbers: a subclass has :meth:`core`."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config):
        """Complete nothing: config.pbtxt has every tensor."""
        return auto_complete_model_config

    def initialize(self, args):
        """Read the settings and the tokenizer."""
        self.settings = read_settings(_HERE)
        self._inputs = [row["name"] for row in json.loads(args["model_config"])["input"]]
        self.texts = Texts(_HERE / self.settings.get("weights", ""), self.settings)
        self._rows = Rows(self.settings, self.core)

    def core(self, inputs):
        """A row of numbers for each row of the padded ``inputs``, which are arrays by name."""
        raise NotImplementedError

    def execute(self, requests):
        """Answer each request once; one that is wrong does not disturb the others."""
        responses = [None] * len(requests)
        taken = []
        for at, request in enumerate(requests):
            try:
                taken.append((at, *self.prepared(request)))
            except Refused as error:
                responses[at] = failed(error, "INVALID_ARG")
            except Exception as error:
                responses[at] = failed(error)
        tokens = [one for _, _, found in taken for one in found]
        try:
            rows = self._rows.run(tokens) if tokens else []
        except Exception as error:
            for at, *_ in taken:
                responses[at] = failed(error)
            return responses
        start = 0
        for at, work, found in taken:
            end = start + len(found)
            responses[at] = answered(requests[at], work, rows[start:end], found)
            start = end
        return responses

    def prepared(self, request):
        """The work of a request, and its tokens."""
        columns = {}
        for name in self._inputs:
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            if tensor is not None:
                columns[name] = _decoded(name, tensor.as_numpy())
        work = prepare(self.settings, columns, json.loads(request.parameters() or "{}"))
        return work, self.texts.encode(work.items, work.truncate, work.use, work.prompt)


def answered(request, work, rows, tokens):
    """The response to a request, with the tensors that it asked for."""
    tensors = work.answer(rows, tokens)
    wanted = request.requested_output_names()
    return pb_utils.InferenceResponse(
        [pb_utils.Tensor(name, value) for name, value in tensors.items() if name in wanted]
    )


def _decoded(name, array):
    try:
        return [value.decode("utf-8") for value in array.reshape(-1)]
    except (UnicodeDecodeError, AttributeError):
        raise Refused(f"{name} is not UTF-8 text") from None


def failed(error, code="INTERNAL"):
    """A response that carries ``error``, with the name of a TritonError's code."""
    # The stub adds its own names to pb_utils after this module was imported.
    errors = pb_utils.TritonError
    text = str(error).encode("utf-8", "backslashreplace").decode("utf-8")
    return pb_utils.InferenceResponse(error=errors(text, getattr(errors, code)))

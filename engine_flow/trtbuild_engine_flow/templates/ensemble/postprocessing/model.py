"""Last step of the ensemble: token ids become text, piece by piece.

Runs inside the Python backend's stub, one instance: the pieces of a text must be joined in the
order in which they come. Pieces of different texts that wait come together in one call.
"""

import json
from pathlib import Path

import llm_console  # noqa: F401 - makes the stub's output UTF-8
import triton_python_backend_utils as pb_utils
from llm_detokenizer import detokenizers
from llm_mailbox import Mailbox
from llm_settings import SettingsError, flag, tokenizer_dir
from llm_streams import Streams
from llm_tokenizer import LlmTokenizer

# Our tensor names: the engine's.
_INPUTS = {
    "TOKENS_BATCH": "output_ids",
    "SEQUENCE_LENGTH": "sequence_length",
    "BATCH_INDEX": "batch_index",
    "SEQUENCE_INDEX": "sequence_index",
    "LOG_PROBS": "output_log_probs",
    "STREAM_KEY": "stream_key",
}
# The client's names: ours.
_OUTPUTS = {
    "text_output": "OUTPUT",
    "finish_reason": "FINISH_REASON",
    "num_input_tokens": "NUM_INPUT_TOKENS",
    "num_output_tokens": "NUM_OUTPUT_TOKENS",
    "output_log_probs": "OUT_LOG_PROBS",
}


class TritonPythonModel:
    """What the Python backend calls."""

    def initialize(self, args):
        """Load the tokenizer."""
        config = json.loads(args["model_config"])
        try:
            folder = tokenizer_dir(config, Path(args["model_repository"]) / args["model_version"])
            tokenizer = LlmTokenizer(folder)
            make = detokenizers(tokenizer.raw, flag(config, "skip_special_tokens", True))
            self._mailbox = Mailbox()
        except SettingsError as error:
            raise pb_utils.TritonModelException(str(error)) from None
        self._streams = Streams(make, tokenizer.end_ids, self._mailbox.take)

    def execute(self, requests):
        """One response for each request, in their order."""
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        found = {_INPUTS[tensor.name()]: tensor.as_numpy() for tensor in request.inputs()}
        try:
            key = _key(request, found)
            stream = self._streams.get(key)
            tensors = stream.piece(found)
            if stream.drained():
                self._streams.close(key)
        except BaseException as error:
            # One broken request must not fail those beside it; a panic of Rust is not an Exception.
            message = f"{type(error).__name__}: {error}"
            pb_utils.Logger.log_error(f"[postprocessing] a piece was lost: {message}")
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(message))
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(_OUTPUTS[name], value) for name, value in tensors.items()]
        )

    def finalize(self):
        """Leave nothing behind."""
        self._mailbox.close()


def _key(request, tensors):
    """What preprocessing called the stream: see its ``_key``, and docs/concepts/ensemble.md."""
    echoed = tensors.get("stream_key")
    if echoed is not None:
        return int(echoed.reshape(-1)[0])
    return request.correlation_id() or request.request_id()

"""First step of the ensemble: prompts, chats and words become token ids.

A panic of the Rust library is not an Exception: BaseException is what keeps it to its request.

Runs inside the Python backend's stub. Requests that wait for one another come together, and all
their texts are encoded by one call of the Rust library.
"""

import json
import os
from pathlib import Path

import llm_console  # noqa: F401 - makes the stub's output UTF-8
import numpy as np
import triton_python_backend_utils as pb_utils
from llm_mailbox import Mailbox
from llm_request import Reader, RequestError
from llm_settings import SettingsError, flag, number, tokenizer_dir
from llm_tokenizer import LlmTokenizer

# Our tensor names: client's names as the shared code knows them.
_INPUTS = {
    "QUERY": "text_input",
    "MESSAGES": "messages",
    "REQUEST_OUTPUT_LEN": "max_tokens",
    "NUM_RETURN_SEQUENCES": "num_return_sequences",
    "BAD_WORDS_DICT": "bad_words",
    "STOP_WORDS_DICT": "stop_words",
    "END_ID": "end_id",
    "PAD_ID": "pad_id",
    "BEAM_WIDTH": "beam_width",
    "STREAM": "stream",
}
# The engine's names: ours.
_OUTPUTS = {
    "input_ids": "INPUT_ID",
    "input_lengths": "REQUEST_INPUT_LEN",
    "request_output_len": "REQUEST_OUTPUT_LEN",
    "bad_words_list": "BAD_WORDS_IDS",
    "stop_words_list": "STOP_WORDS_IDS",
    "end_id": "OUT_END_ID",
    "pad_id": "OUT_PAD_ID",
}


class TritonPythonModel:
    """What the Python backend calls."""

    def initialize(self, args):
        """Load the tokenizer."""
        config = json.loads(args["model_config"])
        try:
            folder = tokenizer_dir(config, Path(args["model_repository"]) / args["model_version"])
            self._tokenizer = LlmTokenizer(folder)
            self._reader = Reader(
                self._tokenizer,
                add_special=flag(config, "add_special_tokens", True),
                max_input_len=number(config, "max_input_len"),
                max_seq_len=number(config, "max_seq_len"),
                max_beam_width=number(config, "max_beam_width"),
            )
            self._mailbox = Mailbox()
        except SettingsError as error:
            raise pb_utils.TritonModelException(str(error)) from None
        self._labels = _labels_responses()
        self._echoed = "TRTBUILD_REHEARSAL" in os.environ

    def execute(self, requests):
        """One response for each request, in their order."""
        found = [self._read(request) for request in requests]
        understood = [item for item in found if not isinstance(item, RequestError)]
        failures = self._encode(understood)
        return [
            self._respond(request, failures.get(item, item))
            for request, item in zip(requests, found, strict=True)
        ]

    def finalize(self):
        """Leave nothing behind."""
        self._mailbox.close()

    def _read(self, request):
        try:
            inputs = {_INPUTS[tensor.name()]: tensor.as_numpy() for tensor in request.inputs()}
            return self._reader.read(inputs)
        except RequestError as error:
            return error
        except BaseException as error:  # one broken request must not fail those beside it
            return RequestError(f"{type(error).__name__}: {error}")

    def _encode(self, requests):
        """Reader.encode; where one text breaks it, each alone."""
        try:
            return self._reader.encode(requests)
        except BaseException as error:
            if len(requests) == 1:
                return {requests[0]: RequestError(f"the prompt cannot be encoded: {error}")}
            failures = {}
            for request in requests:
                failures.update(self._encode([request]))
            return failures

    def _respond(self, request, parsed):
        try:
            if isinstance(parsed, RequestError):
                raise parsed
            return self._response(self._key(request, parsed), parsed)
        except RequestError as error:
            return _failure(str(error), pb_utils.TritonError.INVALID_ARG)
        except BaseException as error:  # as above; a full /dev/shm, for one
            message = f"{type(error).__name__}: {error}"
            pb_utils.Logger.log_error(f"[preprocessing] a request was lost: {message}")
            return _failure(message, pb_utils.TritonError.INTERNAL)

    def _response(self, key, parsed):
        tensors = parsed.engine_inputs(self._tokenizer)
        outputs = [pb_utils.Tensor(_OUTPUTS[name], value) for name, value in tensors.items()]
        if key is not None:
            self._mailbox.put(key, parsed.options(key))
        if self._labels:
            # Triton hands this id on from step to step, so every piece of the answer has it.
            return pb_utils.InferenceResponse(outputs, parameters={"sequence_id": key})
        if self._echoed:
            column = parsed.column([key] * len(parsed.rows), np.uint64)
            outputs.append(pb_utils.Tensor("STREAM_KEY", column))
        return pb_utils.InferenceResponse(outputs)

    def _key(self, request, parsed):
        """What tells this request's answer from all others that are in flight."""
        if self._labels or self._echoed:
            return self._reader.next_key()
        given = request.correlation_id() or request.request_id()
        if not given and (parsed.stream or any(row.stop for row in parsed.rows)):
            raise RequestError(
                "this Triton (before 25.02) cannot tell streams apart by itself: send a request "
                "id that no other request has"
            )
        return given or None


def _labels_responses():
    """Whether this Python backend (Triton 25.02 and newer) can put parameters on a response."""
    try:
        pb_utils.InferenceResponse([], parameters={"sequence_id": 1})
    except TypeError:
        return False
    return True


def _failure(message, code):
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))

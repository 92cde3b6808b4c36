"""The ensemble as one model that calls the engine: for those who script around it.

Warning: before Triton 26.07 a decoupled model that calls a decoupled one can deadlock in Triton's
Python backend (triton-inference-server/server#8882), so this is never what trtbuild writes by
itself. Each instance serves one request at a time, on the stub's own thread, which makes that rarer
and does not rule it out. The ensemble has the same tensors and is faster.

What only this model can do: when the client is gone, or a stop word was found that the engine
spelt in a way of its own, the engine is told to stop.
"""

import json
from pathlib import Path

import llm_console  # noqa: F401 - makes the stub's output UTF-8
import numpy as np
import triton_python_backend_utils as pb_utils
from llm_detokenizer import detokenizers
from llm_request import Reader, RequestError
from llm_settings import SettingsError, flag, number, parameter, tokenizer_dir
from llm_streams import Stream
from llm_tokenizer import LlmTokenizer

_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
# The client's inputs that Reader turns into others; the rest is the engine's as it is, and this
# is what the engine calls it.
_READ = {"text_input", "messages", "max_tokens", "bad_words", "stop_words", "end_id", "pad_id"}
_RENAMED = {
    "top_k": "runtime_top_k",
    "top_p": "runtime_top_p",
    "length_penalty": "len_penalty",
    "random_seed": "seed",
    "stream": "streaming",
}
_COPIED = ("cum_log_probs", "context_logits", "generation_logits", "batch_index", "sequence_index")
_ASKED = ["output_ids", "sequence_length", "output_log_probs", *_COPIED]


class TritonPythonModel:
    """What the Python backend calls."""

    def initialize(self, args):
        """Load the tokenizer."""
        config = json.loads(args["model_config"])
        if not pb_utils.using_decoupled_model_transaction_policy(config):
            raise pb_utils.TritonModelException(
                "config.pbtxt must say model_transaction_policy { decoupled: true }"
            )
        self._engine = parameter(config, "tensorrt_llm_model_name")
        try:
            folder = tokenizer_dir(config, Path(args["model_repository"]) / args["model_version"])
            self._tokenizer = LlmTokenizer(folder)
            skip = flag(config, "skip_special_tokens", True)
            self._make = detokenizers(self._tokenizer.raw, skip)
            self._reader = Reader(
                self._tokenizer,
                add_special=flag(config, "add_special_tokens", True),
                max_input_len=number(config, "max_input_len"),
                max_seq_len=number(config, "max_seq_len"),
                max_beam_width=number(config, "max_beam_width"),
            )
        except SettingsError as error:
            raise pb_utils.TritonModelException(str(error)) from None

    def execute(self, requests):
        """Serve one request after another; more at once take more instances."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                self._serve(request, sender)
            except RequestError as error:
                self._fail(sender, str(error), pb_utils.TritonError.INVALID_ARG)
            except BaseException as error:  # a panic of the Rust library is not an Exception
                pb_utils.Logger.log_error(f"[bls] {type(error).__name__}: {error}")
                self._fail(sender, str(error), pb_utils.TritonError.INTERNAL)

    def _serve(self, request, sender):
        given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        found = self._reader.read(given)
        for error in self._reader.encode([found]).values():
            raise error
        key = self._reader.next_key()
        tensors = found.engine_inputs(self._tokenizer)
        stream = Stream(json.loads(found.options(key)), self._make)
        for name in given.keys() - _READ:
            tensors[_RENAMED.get(name, name)] = given[name]
        told = False
        for response in self._ask(tensors, key).exec(decoupled=True):
            if told:
                continue  # the client has its last response, or is gone
            if response.has_error():
                raise RequestError(response.error().message())
            pieces = {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}
            if "output_ids" not in pieces:
                continue
            answer = stream.piece(pieces)
            answer.update({name: pieces[name] for name in _COPIED if name in pieces})
            ended = stream.ended()
            sender.send(_response(answer), _FINAL if ended else 0)
            told = ended or sender.is_cancelled()
            # An answer that ended by a stop word may have ended in the text alone.
            if told and (not ended or any(row.stop for row in found.rows)):
                self._stop(tensors, key)
        if not stream.ended():
            sender.send(flags=_FINAL)

    def _ask(self, tensors, key):
        return pb_utils.InferenceRequest(
            model_name=self._engine,
            request_id=str(key),
            requested_output_names=_ASKED,
            inputs=[pb_utils.Tensor(name, value) for name, value in tensors.items()],
        )

    def _stop(self, tensors, key):
        """Tell the engine that nobody wants the rest; it knows the request by its id."""
        needed = ("input_ids", "input_lengths", "request_output_len")
        inputs = {name: tensors[name] for name in needed}
        inputs["stop"] = np.ones((1, 1), dtype=np.bool_)
        for _ in self._ask(inputs, key).exec(decoupled=True):
            pass

    def _fail(self, sender, message, code):
        error = pb_utils.TritonError(message, code)
        try:
            sender.send(pb_utils.InferenceResponse(error=error), _FINAL)
        except Exception:  # it had its last response; the next request is to be served all the same
            pb_utils.Logger.log_error(f"[bls] after the last response: {message}")


def _response(tensors):
    return pb_utils.InferenceResponse(
        [pb_utils.Tensor(name, value) for name, value in tensors.items()]
    )

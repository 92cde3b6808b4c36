"""From vLLM's outputs to Triton responses."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


def _strings(items):
    array = np.empty(len(items), dtype=np.object_)
    array[:] = items
    return array


def sendable(text):
    """``text`` as Triton takes it: JSON may hold halves of surrogate pairs, which no message and
    no log line can. Whoever quoted one would get no answer at all."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def failure(code, message):
    """An error response; ``code`` is a name such as ``INVALID_ARG``."""
    # The stub adds its own names to pb_utils after this module was imported.
    errors = pb_utils.TritonError
    error = errors(message=sendable(message), code=getattr(errors, code))
    return pb_utils.InferenceResponse(error=error)


def text_response(text):
    """The common response: one piece of text and nothing else."""
    # An array of one object is built twice as fast by assignment as by np.array([...]).
    array = np.empty(1, dtype=np.object_)
    array[0] = text.encode("utf-8")
    return pb_utils.InferenceResponse([pb_utils.Tensor("text_output", array)])


class Assembler:
    """Responses with every wanted output, ``n`` elements each.

    With several outputs vLLM sends the news of one at a time: the others contribute an empty
    delta, so that element ``i`` always belongs to output ``i``.
    """

    def __init__(self, n, wanted, prefix):
        self._wanted = wanted
        self._prefix = prefix
        self._n = n
        self._reasons = ["None"] * n
        self._cumulative = [0.0] * n
        self._prompted = False

    def response(self, output):
        """A response from a vLLM RequestOutput holding deltas (or everything, at the end)."""
        texts, tokens, logprobs = [b""] * self._n, [0] * self._n, [b"[]"] * self._n
        for item in output.outputs:
            texts[item.index] = item.text.encode("utf-8")
            tokens[item.index] = len(item.token_ids)
            self._reasons[item.index] = str(item.finish_reason)
            if item.cumulative_logprob is not None:
                self._cumulative[item.index] = item.cumulative_logprob
            if self._wanted.logprobs:
                logprobs[item.index] = _logprobs(item.logprobs)
        if self._prefix:
            prefix, self._prefix = self._prefix.encode("utf-8"), ""
            texts = [prefix + text for text in texts]
        return pb_utils.InferenceResponse(self._tensors(output, texts, tokens, logprobs))

    def _tensors(self, output, texts, tokens, logprobs):
        wanted = self._wanted
        tensors = [pb_utils.Tensor("text_output", _strings(texts))]
        if wanted.finish_reason:
            reasons = [reason.encode() for reason in self._reasons]
            tensors.append(pb_utils.Tensor("finish_reason", _strings(reasons)))
        if wanted.cumulative_logprob:
            values = np.array(self._cumulative, dtype=np.float32)
            tensors.append(pb_utils.Tensor("cumulative_logprob", values))
        if wanted.logprobs:
            found = logprobs if wanted.computed_logprobs else [b"null"] * self._n
            if output.prompt_logprobs is not None and not self._prompted:
                # An output of its own would have to stand in every config.pbtxt.
                self._prompted = True
                found = [*found, _logprobs(output.prompt_logprobs)]
            tensors.append(pb_utils.Tensor("logprobs", _strings(found)))
        if wanted.num_input_tokens:
            count = np.array([len(output.prompt_token_ids or ())], dtype=np.uint32)
            tensors.append(pb_utils.Tensor("num_input_tokens", count))
        if wanted.num_output_tokens:
            counts = np.array(tokens, dtype=np.uint32)
            tensors.append(pb_utils.Tensor("num_output_tokens", counts))
        return tensors


def _logprobs(positions):
    """JSON: for each token, ``{token_id: {logprob, rank, decoded_token}}``; null for a prompt's
    first, which nothing comes before."""
    if positions is None:
        return b"null"
    found = [None if position is None else _position(position) for position in positions]
    return json.dumps(found).encode("utf-8")


def _position(position):
    return {
        str(token): {
            "logprob": entry.logprob,
            "rank": entry.rank,
            "decoded_token": entry.decoded_token,
        }
        for token, entry in position.items()
    }


class Embedding:
    """The vector as JSON text, where the OpenAI-compatible frontend looks for it."""

    def __init__(self, wanted):
        self._wanted = wanted

    def response(self, output):
        """A response from a vLLM PoolingRequestOutput."""
        vector = json.dumps([float(value) for value in output.outputs.data.tolist()])
        tensors = [pb_utils.Tensor("text_output", _strings([vector.encode()]))]
        if self._wanted.num_input_tokens:
            count = np.array([len(output.prompt_token_ids)], dtype=np.uint32)
            tensors.append(pb_utils.Tensor("num_input_tokens", count))
        if self._wanted.num_output_tokens:
            tensors.append(pb_utils.Tensor("num_output_tokens", np.zeros(1, dtype=np.uint32)))
        return pb_utils.InferenceResponse(tensors)

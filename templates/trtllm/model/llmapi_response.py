"""From TensorRT-LLM's outputs to Triton responses, every tensor of its declared type."""

import json

import llmapi_text
import numpy as np
import triton_python_backend_utils as pb_utils

# tensor: (section of RequestPerfMetrics, its field, numpy type); timing is told in nanoseconds
_METRICS = {
    "kv_cache_reused_block": ("kv_cache_metrics", "num_reused_blocks", np.int32),
    "kv_cache_missed_block": ("kv_cache_metrics", "num_missed_blocks", np.int32),
    "kv_cache_alloc_new_blocks": ("kv_cache_metrics", "num_new_allocated_blocks", np.int32),
    "kv_cache_alloc_total_blocks": ("kv_cache_metrics", "num_total_allocated_blocks", np.int32),
    "kv_cache_hit_rate": ("kv_cache_metrics", "kv_cache_hit_rate", np.float32),
    "arrival_time_ns": ("timing_metrics", "arrival_time", np.int64),
    "first_scheduled_time_ns": ("timing_metrics", "first_scheduled_time", np.int64),
    "first_token_time_ns": ("timing_metrics", "first_token_time", np.int64),
    "last_token_time_ns": ("timing_metrics", "last_token_time", np.int64),
    "acceptance_rate": ("speculative_decoding", "acceptance_rate", np.float32),
    "total_accepted_draft_tokens": (
        "speculative_decoding", "total_accepted_draft_tokens", np.int32,
    ),
    "total_draft_tokens": ("speculative_decoding", "total_draft_tokens", np.int32),
}  # fmt: skip


def failure(code, message):
    """An error response; ``code`` is a name such as ``INVALID_ARG``."""
    # The stub adds its own names to pb_utils after this module was imported.
    errors = pb_utils.TritonError
    # A message that quotes half a surrogate pair could not be sent, and nothing else would come.
    sendable = message.encode("utf-8", "backslashreplace").decode("utf-8")
    return pb_utils.InferenceResponse(error=errors(message=sendable, code=getattr(errors, code)))


class Assembler:
    """The responses of one request: the news of each of its sequences since the last one."""

    def __init__(self, request, prefix=""):
        self._request = request
        self._prefix = prefix
        self._streams = {}
        self._tokens = {}

    def stopped(self, output):
        """Whether a stop string has ended all sequences, which TensorRT-LLM may not know yet."""
        streams = [self._streams.get(item.index) for item in output.outputs]
        return all(stream is not None and stream.stopped is not None for stream in streams)

    def response(self, output, last):
        """What is new in ``output``; None when that is nothing yet. ``last``: nothing follows."""
        pieces = [self._piece(item, last) for item in output.outputs]
        if not last and not any(pieces):
            return None
        return pb_utils.InferenceResponse(self._tensors(output, pieces, last))

    def _piece(self, item, last):
        stream = self._streams.get(item.index)
        if stream is None:
            include = self._request.sampling.get("include_stop_str_in_output", False)
            stream = llmapi_text.TextStream(self._request.stops, include)
            self._streams[item.index] = stream
        finished = last or item.finish_reason is not None
        return stream.push(item.text, finished, item.stop_reason)

    def _tensors(self, output, pieces, last):
        wanted, items = self._request.wanted, output.outputs
        tensors = [_strings("text_output", [self._prefix + piece for piece in pieces])]
        news = [self._new_tokens(item) for item in items]
        if wanted.finish_reason:
            tensors.append(_strings("finish_reason", [self._reason(item) for item in items]))
        if wanted.stop_reason:
            tensors.append(_strings("stop_reason", [self._stop(item) for item in items]))
        if wanted.cumulative_logprob:
            sums = [item.cumulative_logprob or 0.0 for item in items]
            tensors.append(pb_utils.Tensor("cumulative_logprob", np.array(sums, np.float32)))
        if wanted.logprobs:
            texts = [_logprobs(item, new) for item, new in zip(items, news, strict=True)]
            tensors.append(_strings("logprobs", texts))
        if wanted.num_input_tokens:
            count = len(output.prompt_token_ids or ())
            tensors.append(pb_utils.Tensor("num_input_tokens", np.array([count], np.uint32)))
        if wanted.num_output_tokens:
            tensors.append(pb_utils.Tensor("num_output_tokens", np.array(news, np.uint32)))
        return tensors + (_metrics(items[0]) if last and wanted.perf_metrics else [])

    def _new_tokens(self, item):
        before = self._tokens.get(item.index, 0)
        self._tokens[item.index] = max(before, len(item.token_ids))
        return self._tokens[item.index] - before

    def _reason(self, item):
        stopped = self._streams[item.index].stopped is not None
        return "stop" if stopped else str(item.finish_reason)

    def _stop(self, item):
        stopped = self._streams[item.index].stopped
        return str(item.stop_reason if stopped is None else stopped)


def _strings(name, items):
    array = np.empty(len(items), dtype=np.object_)
    array[:] = [item.encode("utf-8") for item in items]
    return pb_utils.Tensor(name, array)


def _logprobs(item, new):
    """JSON: for each new token ``{token_id: {logprob, rank}}``, the generated token first. Where
    TensorRT-LLM tells only a number, there is no rank."""
    tokens = list(item.token_ids)
    # TensorRT-LLM takes the tokens of a stop string away, and leaves their probabilities.
    positions = list(item.logprobs or ())[: len(tokens)][-new:] if new else []
    return json.dumps(list(map(_position, tokens[len(tokens) - len(positions) :], positions)))


def _position(generated, position):
    if not isinstance(position, dict):
        return {str(generated): {"logprob": float(position), "rank": None}}
    # TensorRT-LLM begins with the most probable one.
    ordered = sorted(position.items(), key=lambda pair: pair[0] != generated)
    return {str(token): {"logprob": entry.logprob, "rank": entry.rank} for token, entry in ordered}


def _metrics(item):
    metrics = getattr(item, "request_perf_metrics", None)
    if metrics is None:
        return []
    tensors = []
    for name, (section, field, kind) in _METRICS.items():
        value = getattr(getattr(metrics, section, None), field, None)
        if value is not None:
            tensors.append(pb_utils.Tensor(name, np.array([_number(value)], kind)))
    return tensors


def _number(value):
    """Numbers as they are, a timedelta in nanoseconds."""
    if not hasattr(value, "microseconds"):
        return value
    return ((value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds) * 1000

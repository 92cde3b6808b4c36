"""From the engine's tensors to what vLLM is asked; everything wrong is a RequestError."""

from dataclasses import dataclass, field

# Inputs whose effect vLLM has under another name.
_SAMPLING = {
    "runtime_top_k": "top_k",
    "runtime_top_p": "top_p",
    "temperature": "temperature",
    "repetition_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "min_tokens": "min_tokens",
    "seed": "seed",
    "random_seed": "seed",
    "num_return_sequences": "n",
}
_HANDLED = {"input_ids", "input_lengths", "request_output_len", "end_id", "pad_id", "stop"}
_HANDLED |= {"stop_words_list", "bad_words_list", "beam_width", "streaming", "return_log_probs"}
_HANDLED |= {"exclude_input_in_output", "stream_key"}
# Asking for them is refused, sending them with this value is not.
_NEUTRAL = {"return_context_logits": 0, "return_generation_logits": 0, "return_perf_metrics": 0}
_NEUTRAL |= {"len_penalty": 1, "return_num_input_tokens": 0, "return_num_output_tokens": 0}


class RequestError(Exception):
    """A request that cannot be served; the client is told this text."""


@dataclass
class Job:
    """One row of a request."""

    prompt: list
    max_tokens: int
    streaming: bool
    end_id: int | None
    stops: list
    bads: list
    log_probs: bool
    echo_prompt: bool
    sampling: dict = field(default_factory=dict)

    @property
    def greedy(self):
        """TensorRT-LLM takes the best token where neither top_k nor top_p says otherwise."""
        top_k = self.sampling.get("top_k", 0)
        return top_k == 1 or (not top_k and not self.sampling.get("top_p", 0))


def jobs(inputs, settings):
    """The rows of a request.

    ``inputs`` are arrays by name whose first dimension is the row.

    Raises:
        RequestError: for what the real backend refuses too, and for what is not rehearsed.
    """
    if "input_ids" not in inputs:
        raise RequestError("input_ids is missing")
    _require_known(inputs)
    streaming = bool(_value(inputs, "streaming", 0, False))
    if streaming and not settings.decoupled:
        raise RequestError("streaming takes a model that is decoupled in config.pbtxt")
    beams = int(_value(inputs, "beam_width", 0, 1))
    if beams > settings.max_beam_width:
        raise RequestError(f"beam_width {beams} is above {settings.max_beam_width}, the engine's")
    if beams > 1:
        raise RequestError("the rehearsal has no beam search: vLLM computes it otherwise")
    each = int(_value(inputs, "num_return_sequences", 0, 1))
    if each < 1:
        raise RequestError(f"num_return_sequences must be above 0, got {each}")
    answers = len(inputs["input_ids"]) * each
    if answers > 1 and not settings.decoupled:
        raise RequestError("several answers to one request take a model that is decoupled")
    found = []
    for row, padded in enumerate(inputs["input_ids"]):
        prompt = padded[: int(_value(inputs, "input_lengths", row, len(padded)))].tolist()
        found.append(_job(inputs, row, prompt, streaming, settings))
    return found


def _job(inputs, row, prompt, streaming, settings):
    max_tokens = int(_value(inputs, "request_output_len", row, 0))
    if max_tokens < 1:
        raise RequestError(f"request_output_len must be above 0, got {max_tokens}")
    limit = settings.max_input_len
    if limit is not None and len(prompt) > limit:
        raise RequestError(f"Prompt length ({len(prompt)}) exceeds maximum input length ({limit})")
    if settings.max_seq_len is not None:
        if len(prompt) >= settings.max_seq_len:
            raise RequestError(f"{len(prompt)} tokens leave no room in {settings.max_seq_len}")
        max_tokens = min(max_tokens, settings.max_seq_len - len(prompt))
    end_id = _value(inputs, "end_id", row, None)
    exclude = bool(_value(inputs, "exclude_input_in_output", row, settings.exclude_input))
    sampling = {
        theirs: inputs[ours].reshape(-1)[row].item()
        for ours, theirs in _SAMPLING.items()
        if ours in inputs
    }
    return Job(
        prompt=prompt,
        max_tokens=max_tokens,
        streaming=streaming,
        end_id=None if end_id is None or end_id < 0 else int(end_id),
        stops=_words(inputs, "stop_words_list", row),
        bads=_words(inputs, "bad_words_list", row),
        log_probs=bool(_value(inputs, "return_log_probs", row, False)),
        echo_prompt=not streaming and not exclude,
        sampling=sampling,
    )


def _require_known(inputs):
    refused = []
    for name, value in inputs.items():
        if name in _NEUTRAL:
            if value.reshape(-1)[0] != _NEUTRAL[name]:
                refused.append(name)
        elif name not in _HANDLED and name not in _SAMPLING:
            refused.append(name)
    if refused:
        raise RequestError(f"not rehearsed: {', '.join(sorted(refused))}")


def _value(inputs, name, row, default):
    found = inputs.get(name)
    return default if found is None else found.reshape(-1)[row]


def _words(inputs, name, row):
    """Sequences of ids: the first line has all of them, the second where each one ends."""
    if name not in inputs:
        return []
    ids, ends = inputs[name][row].tolist()
    found, start = [], 0
    for end in ends:
        if end < 0:
            break
        if not start < end <= len(ids):
            raise RequestError(f"{name}: the ends must grow, and stay within {len(ids)}")
        found.append(ids[start:end])
        start = end
    return found

"""From the tensors of a request to typed values; everything wrong is a RequestError."""

import json
from dataclasses import dataclass, field

_SAMPLING = "sampling_param_"
# Tensors that hold several values; all others hold one.
_LISTS = frozenset({"stop", "bad", "stop_token_ids"})
# name: (least, most), both included; what TensorRT-LLM would take without a word or crash over.
_RANGES = {
    "max_tokens": (1, None),
    "min_tokens": (0, None),
    "n": (1, None),
    "best_of": (1, None),
    "temperature": (0, None),
    "top_k": (0, None),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "logprobs": (0, None),
    "truncate_prompt_tokens": (1, None),
    "beam_search_diversity_rate": (0, None),
    "end_id": (0, None),
}
# Above 0: the C++ divides by it, and would refuse 0 as an error of its own.
_POSITIVE = frozenset({"repetition_penalty"})
# guided_decoding_guide_type, as the tensorrtllm backend names them -> GuidedDecodingParams' field
GUIDES = {
    "json": "json_object",
    "json_schema": "json",
    "regex": "regex",
    "ebnf_grammar": "grammar",
    "structural_tag": "structural_tag",
}


class RequestError(Exception):
    """A request that cannot be served as it is; the client is told this text."""


@dataclass
class Wanted:
    """The outputs a client asked for besides the text."""

    finish_reason: bool = False
    stop_reason: bool = False
    cumulative_logprob: bool = False
    logprobs: bool = False
    num_input_tokens: bool = False
    num_output_tokens: bool = False
    perf_metrics: bool = False


@dataclass
class Request:
    """A request for text. Either ``prompt`` or ``messages`` is set.

    ``sampling`` holds fields of SamplingParams; ``guide`` is a field of GuidedDecodingParams with
    its value, or None. With ``cancels`` the request ends those of the same id and has no prompt.
    """

    id: str = ""
    prompt: str | None = None
    messages: list | None = None
    streaming: bool = False
    echo: bool = False
    sampling: dict = field(default_factory=dict)
    guide: tuple | None = None
    lora_name: str | None = None
    wanted: Wanted = field(default_factory=Wanted)
    cancels: bool = False

    @property
    def stops(self):
        """The stop strings."""
        return self.sampling.get("stop") or []


def parse(inputs, request_id="", decoupled=True):
    """A Request. ``inputs`` maps the name of each tensor sent to its elements."""
    if _flag(inputs, "stop"):
        if not request_id:
            raise RequestError("'stop' ends the requests of the same id: send a request id")
        return Request(id=request_id, cancels=True)
    request = Request(
        id=request_id,
        prompt=_text(inputs, "text_input"),
        messages=_messages(inputs),
        streaming=_flag(inputs, "streaming"),
        sampling=_sampling(inputs),
        guide=_guide(inputs),
        lora_name=_text(inputs, "lora_name"),
        wanted=_wanted(inputs),
    )
    request.echo = not request.sampling.pop("exclude_input_from_output", True)
    _check_together(request, decoupled)
    return request


def _check_together(request, decoupled):
    if (request.prompt is None) == (request.messages is None):
        raise RequestError("send either 'text_input' or 'messages'")
    if request.streaming and not decoupled:
        raise RequestError(
            "'streaming' needs model_transaction_policy { decoupled: true } in config.pbtxt"
        )
    if request.streaming and request.echo:
        raise RequestError(
            "'sampling_param_exclude_input_from_output' cannot be false when 'streaming' is true"
        )
    best, n = request.sampling.get("best_of"), request.sampling.get("n", 1)
    if best is not None and best < n:
        raise RequestError(f"'sampling_param_best_of' is {best}, below 'sampling_param_n' {n}")
    if request.streaming and best is not None and best > n:
        raise RequestError("the best of several cannot be streamed: which they are is known last")


def _sampling(inputs):
    values, wrong = {}, []
    for tensor, elements in inputs.items():
        if not tensor.startswith(_SAMPLING):
            continue
        name = tensor[len(_SAMPLING) :]
        values[name] = _list(elements, tensor) if name in _LISTS else _scalar(elements, tensor)
        wrong += _out_of_range(tensor, values[name], *_RANGES.get(name, (None, None)))
        if name in _POSITIVE and not values[name] > 0:
            wrong.append(f"'{tensor}' is {values[name]}, must be above 0")
    least, most = values.get("min_tokens", 0), values.get("max_tokens")
    if not wrong and most is not None and least > most:
        wrong.append(f"'{_SAMPLING}min_tokens' is {least}, above '{_SAMPLING}max_tokens' {most}")
    if wrong:
        raise RequestError("; ".join(wrong))
    if 0 in (values.get("temperature"), values.get("top_p")):
        # Greedy, said so that every release understands it: some divide by the temperature.
        values = {k: v for k, v in values.items() if k not in ("temperature", "top_p")}
        values["top_k"] = 1
    return values


def _out_of_range(tensor, value, least, most):
    # A NaN is neither below nor above anything.
    if least is not None and not value >= least:
        return [f"'{tensor}' is {value}, must be at least {least}"]
    if most is not None and not value <= most:
        return [f"'{tensor}' is {value}, must be at most {most}"]
    return []


def _wanted(inputs):
    flags = {
        name[len("return_") :]: _flag(inputs, name) for name in inputs if name.startswith("return_")
    }
    metrics = _flag(inputs, f"{_SAMPLING}return_perf_metrics")
    return Wanted(**flags, perf_metrics=metrics)


def _guide(inputs):
    kind, guide = (
        _text(inputs, "guided_decoding_guide_type"),
        _text(inputs, "guided_decoding_guide"),
    )
    if kind is None and guide is None:
        return None
    if kind not in GUIDES:
        raise RequestError(
            f"'guided_decoding_guide_type' must be one of {', '.join(GUIDES)}, got {kind!r}"
        )
    if kind == "json":
        return "json_object", True
    if not guide:
        raise RequestError(f"a guide of type {kind} needs 'guided_decoding_guide'")
    return GUIDES[kind], guide


def _messages(inputs):
    text = _text(inputs, "messages")
    if text is None:
        return None
    try:
        messages = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"'messages' is not valid JSON: {error}") from None
    sound = isinstance(messages, list) and all(
        isinstance(item, dict) and isinstance(item.get("role"), str) for item in messages
    )
    if not sound or not messages:
        raise RequestError("'messages' must be a JSON list of objects with 'role' and 'content'")
    return messages


def _flag(inputs, name):
    return bool(_scalar(inputs[name], name)) if name in inputs else False


def _text(inputs, name):
    return _decoded(_scalar(inputs[name], name), name) if name in inputs else None


def _list(elements, name):
    return [_decoded(item, name) if isinstance(item, bytes) else item.item() for item in elements]


def _scalar(elements, name):
    if len(elements) != 1:
        what = "one prompt a request" if name == "text_input" else "one value"
        raise RequestError(f"'{name}' holds {len(elements)} values; send {what}")
    value = elements[0]
    return value.item() if hasattr(value, "item") else value


def _decoded(value, name):
    if isinstance(value, str):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(
            f"'{name}' is not valid UTF-8: {error.reason} at byte {error.start}"
        ) from None

"""From the tensors of a request to typed values; everything wrong is a RequestError."""

import difflib
import json
import math
import typing
from dataclasses import dataclass, field

# Set by this backend or meaningless to a client.
_RESERVED = frozenset({"output_kind", "skip_clone", "output_text_buffer_length"})
# The names older vLLM releases and their clients use.
_ALIASES = {"guided_decoding": "structured_outputs"}
# Python's literals, which clients send as text for JSON's.
_PYTHON = {"True": "true", "False": "false", "None": "null"}
# What NVIDIA's vLLM backend says to the same request.
_NO_PROMPT_IN_STREAM = "When streaming, `exclude_input_in_output` = False is not allowed."
# Parameters that Triton's own protocol puts beside ours.
_PROTOCOL = frozenset({"binary_data_output", "priority", "timeout"})


class RequestError(Exception):
    """A request that cannot be served as it is; the client is told this text."""


@dataclass
class Wanted:
    """The outputs a client asked for besides the text."""

    finish_reason: bool = False
    cumulative_logprob: bool = False
    logprobs: bool = False
    num_input_tokens: bool = False
    num_output_tokens: bool = False
    # Whether the client asked for log probabilities as a sampling parameter, too.
    computed_logprobs: bool = True

    def any(self):
        """Whether a response has more than its text."""
        return (
            self.finish_reason
            or self.cumulative_logprob
            or self.logprobs
            or self.num_input_tokens
            or self.num_output_tokens
        )


@dataclass
class Generate:
    """A request for text."""

    prompt: str
    stream: bool
    prepend_prompt: bool
    sampling: dict
    lora_name: str | None
    wanted: Wanted
    images: list = field(default_factory=list)  # base64; pictures once they are decoded
    trace: dict | None = None


@dataclass
class Embed:
    """A request for a vector. ``prompt`` is text or a list of token ids."""

    prompt: typing.Any
    pooling: dict
    wanted: Wanted
    trace: dict | None = None


def text(value, name):
    """UTF-8 bytes as text."""
    if isinstance(value, str):
        return value
    try:
        return bytes(value).decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(
            f"'{name}' is not valid UTF-8: {error.reason} at byte {error.start}"
        ) from None


def json_object(value, name):
    """A JSON object, from text."""
    try:
        parsed = json.loads(text(value, name)) if value else {}
    except (ValueError, RecursionError) as error:
        raise RequestError(f"'{name}' is not valid JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise RequestError(f"'{name}' must be a JSON object, got {type(parsed).__name__}")
    return parsed


def parse(inputs, parameters):
    """A Generate or an Embed.

    ``inputs`` maps the name of each tensor sent to its elements (a list of bytes or booleans);
    ``parameters`` is Triton's JSON text of the request parameters.
    """
    flags = {name[7:]: bool(v[0]) for name, v in inputs.items() if name.startswith("return_")}
    wanted = Wanted(**flags)
    if "embedding_request" in inputs:
        body = json_object(inputs["embedding_request"][0], "embedding_request")
        if "input" not in body:
            raise RequestError("'embedding_request' needs 'input': text or token ids")
        return Embed(body["input"], body.get("pooling_params") or {}, wanted)
    stream = bool(inputs["stream"][0]) if "stream" in inputs else False
    if "exclude_input_in_output" in inputs:
        prepend = not bool(inputs["exclude_input_in_output"][0])
        if prepend and stream:
            raise RequestError(_NO_PROMPT_IN_STREAM)
    else:
        prepend = not stream
    if "sampling_parameters" in inputs:
        sampling = json_object(inputs["sampling_parameters"][0], "sampling_parameters")
    else:
        sampling = {
            key: value
            for key, value in json_object(parameters, "parameters").items()
            if key not in _PROTOCOL and not key.startswith("triton_")
        }
    lora_name = sampling.pop("lora_name", None)
    return Generate(
        prompt=text(inputs["text_input"][0], "text_input"),
        stream=stream,
        prepend_prompt=prepend,
        sampling=sampling,
        lora_name=None if lora_name is None else str(lora_name),
        wanted=wanted,
        images=list(inputs.get("image", ())),
    )


def sampling_types(params_class):
    """For each sampling parameter a client may set, the plain types it accepts."""
    types = {}
    for name, hint in typing.get_type_hints(params_class).items():
        if not name.startswith("_") and name not in _RESERVED:
            types[name] = frozenset(_plain(hint))
    return types


def _plain(hint):
    origin = typing.get_origin(hint)
    if origin in (list, dict, set, tuple):
        yield list if origin is not dict else dict
    elif origin is None:
        known = (bool, int, float, str, list, dict, type(None))
        yield hint if hint in known else list if hint.__name__ == "ndarray" else dict
    elif origin is not typing.Literal:
        for inner in typing.get_args(hint):
            yield from _plain(inner)
    else:
        yield str


def typed(sampling, types):
    """The sampling parameters with the types vLLM wants.

    Clients may send every value as text ("0.7"), as Triton's request parameters do; all
    mistakes are reported at once.
    """
    values, wrong = {}, []
    for key, value in sampling.items():
        name = _ALIASES.get(key, key)
        if name not in types:
            near = difflib.get_close_matches(key, types, 1)
            wrong.append(
                f"unknown sampling parameter '{key}'"
                + (f", did you mean '{near[0]}'?" if near else "")
            )
            continue
        try:
            values[name] = _finite(_one(value, types[name]))
        except (ValueError, TypeError, OverflowError, RecursionError):
            kinds = "/".join(sorted(t.__name__ for t in types[name] if t is not type(None)))
            wrong.append(f"sampling parameter '{key}' must be {kinds}, got {value!r:.80}")
    if wrong:
        raise RequestError("; ".join(wrong))
    return values


def _finite(value):
    """``value``; ValueError when it holds NaN or an infinity, which make every token's
    probability NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(value)
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _finite(item)
    return value


def _one(value, types):
    if value is None and type(None) in types:
        return None
    if isinstance(value, str) and str not in types:
        literal = value.strip()
        value = json.loads(_PYTHON.get(literal, literal))
        if value is None and type(None) in types:
            return None
    for accept in (_as_bool, _as_int, _as_float, _as_is):
        found = accept(value, types)
        if found is not None:
            return found
    raise TypeError


def _as_bool(value, types):
    if bool not in types:
        return None
    return bool(value) if isinstance(value, bool) or value in (0, 1) else None


def _as_int(value, types):
    if int not in types or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if value == int(value) else None


def _as_float(value, types):
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if float in types and numeric else None


def _as_is(value, types):
    if isinstance(value, dict):
        # JSON has only text for keys: logit_bias maps token ids.
        whole = all(isinstance(key, str) and key.lstrip("-").isdigit() for key in value)
        keys = {int(key): item for key, item in value.items()} if value and whole else value
        return keys if dict in types else None
    return value if type(value) in types else None

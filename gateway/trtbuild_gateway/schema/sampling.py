"""Parameters that chat and completions share, and what the model is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from trtbuild.signature.sampling import Guide, Sampling
from trtbuild_gateway.failures import invalid

Probability = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Whole = Annotated[int, Meta(ge=0)]
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Choices = Annotated[list[str], Meta(min_length=1)]
Positive = Annotated[int, Meta(ge=1)]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""Source: openai-python 3.57.0, types/shared/reasoning_effort.py."""
_MOST_STOPS = 16
_MOST_TOKEN = 2**31 - 1


_UNSUPPORTED = {
    "continuous_usage_stats": "the counts come once, at the end",
    "include_obfuscation": "nothing is added to hide the lengths of tokens",
}


class EventOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``stream_options`` of ``/v1/responses``."""

    include_obfuscation: bool = False

    def ignored(self, *, stream: bool, drop: bool) -> tuple[str, ...]:
        """Return the names of options without effect.

        Args:
            stream: Whether the answer is streamed.
            drop: Ignore what would be refused.

        Raises:
            ApiError: There is one.
        """
        if stream:
            found = {
                f"stream_options.{name}": why
                for name, why in _UNSUPPORTED.items()
                if getattr(self, name, False)
            }
        else:
            found = {"stream_options": "it needs 'stream': true"}
        for name, why in found.items():
            if not drop:
                message = f"the parameter {name!r} has no effect: {why}"
                raise invalid(message, name, "unsupported_parameter")
        return tuple(found)


class StreamOptions(EventOptions, frozen=True, forbid_unknown_fields=True):
    """``stream_options`` of chats and completions."""

    include_usage: bool = False
    continuous_usage_stats: bool = False


class JsonSchema(msgspec.Struct, frozen=True):
    """``response_format.json_schema``."""

    name: str
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class ResponseFormat(msgspec.Struct, frozen=True):
    """``response_format``."""

    type: Literal["text", "json_object", "json_schema", "structural_tag"]
    json_schema: JsonSchema | None = None
    structures: Any = None
    triggers: Any = None


class StructuredOutputs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``structured_outputs``, vLLM's forms of an answer."""

    json: str | dict[str, Any] | None = None
    json_object: bool | None = None
    regex: str | None = None
    choice: Choices | None = None
    grammar: str | None = None
    structural_tag: str | dict[str, Any] | None = None

    def guides(self) -> list[Guide]:
        """Return the forms that are given."""
        given = msgspec.structs.asdict(self)
        given["json"] = _schema(self.json, "structured_outputs.json")
        plain = bool(given.pop("json_object"))
        found = [Guide(kind, value) for kind, value in given.items() if value is not None]
        return [*found, *([Guide("json_object")] if plain else [])]


class SamplingFields(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of both endpoints. None: the client did not give it."""

    model: Annotated[str, Meta(min_length=1)]
    n: Annotated[int, Meta(ge=1)] = 1
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Whole | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1)] | None = None
    min_p: Probability | None = None
    repetition_penalty: Annotated[float, Meta(gt=0)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[TokenId] | None = None
    ignore_eos: bool = False
    min_tokens: Whole | None = None
    skip_special_tokens: bool | None = None
    include_stop_str_in_output: bool | None = None
    return_tokens_as_token_ids: bool = False
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    priority: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] = 0
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: str | dict[str, Any] | None = None
    guided_regex: str | None = None
    guided_choice: Choices | None = None
    guided_grammar: str | None = None

    def ignored(self, *, drop: bool) -> tuple[str, ...]:
        """Return options without effect, see :meth:`EventOptions.ignored`."""
        options = self.stream_options
        return () if options is None else options.ignored(stream=self.stream, drop=drop)

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the token counts."""
        return self.stream_options is not None and self.stream_options.include_usage

    def stops(self) -> tuple[str, ...]:
        """Return the stop texts; ApiError if one is empty or there are too many."""
        found = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        if len(found) > _MOST_STOPS:
            raise invalid(f"'stop' has {len(found)} texts, the most is {_MOST_STOPS}", "stop")
        if "" in found:
            raise invalid("'stop' holds an empty text", "stop")
        return found

    def biases(self) -> Mapping[int, float] | None:
        """Return the bias of each token id; ApiError for a key that is none."""
        if self.logit_bias is None:
            return None
        if not all(map(_is_token, self.logit_bias)):
            raise invalid("the keys of 'logit_bias' must be token ids", "logit_bias")
        return {int(token): bias for token, bias in self.logit_bias.items()}

    def guide(self) -> Guide | None:
        """Return the form of the answer; ApiError if several are given or one is invalid."""
        given = [*self._guides()]
        if len(given) > 1:
            raise invalid(
                "response_format and structured_outputs each ask for a form of the answer: "
                "give one",
                "response_format",
            )
        return given[0] if given else None

    def _guides(self) -> list[Guide]:
        found = [
            Guide(kind, value)
            for kind, value in (
                ("json", _schema(self.guided_json, "guided_json")),
                ("regex", self.guided_regex),
                ("choice", self.guided_choice),
                ("grammar", self.guided_grammar),
            )
            if value is not None
        ]
        if self.structured_outputs is not None:
            found += self.structured_outputs.guides()
        if self.response_format is not None and self.response_format.type != "text":
            found.append(_formatted(self.response_format))
        return found

    def more(self) -> Mapping[str, Any]:
        """Return vLLM's other settings."""
        return {}

    def sampling(self, max_tokens: int, *, logprobs: int | None, echo: bool = False) -> Sampling:
        """Return what the model is asked for.

        Args:
            max_tokens: The most tokens of the answer.
            logprobs: How many alternatives of each token; None for no log probabilities.
            echo: Whether the prompt's tokens have them, too.
        """
        return Sampling(
            max_tokens=max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            seed=self.seed,
            stop=self.stops(),
            ignore_eos=self.ignore_eos,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            logprobs=logprobs,
            prompt_logprobs=logprobs if echo else None,
            logit_bias=self.biases(),
            min_tokens=self.min_tokens,
            stop_token_ids=None if self.stop_token_ids is None else tuple(self.stop_token_ids),
            skip_special_tokens=self.skip_special_tokens,
            include_stop_str_in_output=self.include_stop_str_in_output,
            more=self.more(),
        )


def _is_token(text: str) -> bool:
    return len(text) <= 10 and text.isascii() and text.isdigit() and int(text) <= _MOST_TOKEN


def _schema(value: Any, param: str) -> Any:
    if isinstance(value, str):
        try:
            return msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError) as error:
            raise invalid(f"{param!r} is not valid JSON: {error}", param) from None
    return value


def _formatted(wanted: ResponseFormat) -> Guide:
    if wanted.type == "json_object":
        return Guide("json_object")
    if wanted.type == "structural_tag":
        tag = {"type": wanted.type, "structures": wanted.structures, "triggers": wanted.triggers}
        return Guide("structural_tag", json.dumps(tag))
    if wanted.json_schema is None or wanted.json_schema.schema is None:
        raise invalid(
            "response_format of type 'json_schema' needs json_schema.schema",
            "response_format.json_schema.schema",
            "missing_parameter",
        )
    check_schema(wanted.json_schema.schema)
    return Guide("json", wanted.json_schema.schema)


_TYPES = frozenset(("object", "array", "string", "number", "integer", "boolean", "null"))


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raise ApiError for what is not a JSON schema at its surface; the engine compiles the rest."""
    param = "response_format.json_schema.schema"
    kinds = schema.get("type", [])
    for kind in [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else [None]:
        if not isinstance(kind, str) or kind not in _TYPES:
            raise invalid(f"the JSON schema has the unknown type {kind!r}", param, "invalid_schema")
    if not isinstance(schema.get("properties", {}), dict):
        raise invalid("'properties' of the JSON schema must be an object", param, "invalid_schema")
    if not isinstance(schema.get("required", []), list):
        raise invalid("'required' of the JSON schema must be a list", param, "invalid_schema")

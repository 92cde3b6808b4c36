"""How text is generated: sampling settings in OpenAI's and vLLM's terms, and the text's form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Fields with the same names in Sampling and in vLLM's SamplingParams.
_OPTIONAL = (
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "seed", "logprobs", "prompt_logprobs", "logit_bias", "min_tokens",
    "stop_token_ids", "skip_special_tokens", "include_stop_str_in_output",
)  # fmt: skip

SampleValue = int | float | bool | list[str] | list[int] | dict[str, float]


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling settings. None leaves a value to the server.

    ``temperature`` 0 is greedy; ``max_tokens`` counts generated tokens. ``more`` are vLLM's other
    settings, by its names; servers of other engines do not get them.
    """

    max_tokens: int = 128
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    logit_bias: Mapping[int, float] | None = None
    min_tokens: int | None = None
    stop_token_ids: tuple[int, ...] | None = None
    skip_special_tokens: bool | None = None
    include_stop_str_in_output: bool | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def wants_logprobs(self) -> bool:
        """Whether log probabilities are requested."""
        return self.logprobs is not None or self.prompt_logprobs is not None

    def given(self) -> dict[str, SampleValue]:
        """Return the values that are set, by vLLM's names."""
        values: dict[str, SampleValue] = {"max_tokens": self.max_tokens}
        for name in _OPTIONAL:
            value = getattr(self, name)
            if value is not None:
                values[name] = _json_value(value)
        if self.stop:
            values["stop"] = list(self.stop)
        if self.ignore_eos:
            values["ignore_eos"] = True
        return values


def _json_value(value: Any) -> SampleValue:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    found: SampleValue = value
    return found


@dataclass(frozen=True, slots=True)
class Guide:
    """A form that the generated text must have.

    Attributes:
        kind: ``json`` (a JSON schema), ``json_object`` (any JSON object), ``regex``, ``choice``
            (a list of texts), ``grammar`` (EBNF) or ``structural_tag``.
        value: The schema, expression…; None for ``json_object``.
    """

    kind: str
    value: Any = None

"""What each task is asked and what it answers, in OpenAI's and Hugging Face's terms.

No tensor is named here: a request schema (:mod:`trtbuild.signature.dialects`) translates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# Of the same names in Sampling and in vLLM's SamplingParams.
_OPTIONAL = (
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "seed", "logprobs", "prompt_logprobs",
)  # fmt: skip

SampleValue = int | float | bool | list[str]
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to generate. None leaves a value to the server.

    ``temperature`` 0 is greedy; ``max_tokens`` counts generated tokens.
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

    @property
    def wants_logprobs(self) -> bool:
        """Whether log probabilities are to be sent."""
        return self.logprobs is not None or self.prompt_logprobs is not None

    def given(self) -> dict[str, SampleValue]:
        """The values that are set, by the names vLLM uses."""
        values: dict[str, SampleValue] = {"max_tokens": self.max_tokens}
        for name in _OPTIONAL:
            value = getattr(self, name)
            if value is not None:
                values[name] = value
        if self.stop:
            values["stop"] = list(self.stop)
        if self.ignore_eos:
            values["ignore_eos"] = True
        return values


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Text to go on from. A chat becomes one through the model's template (:mod:`trtbuild.chat`).

    Attributes:
        prompt: As the model's own text format wants it.
        sampling: How to generate.
        stream: Ask for chunks as they come, not for one response.
        images: Base64 text of image files, for models that look at images.
    """

    prompt: str
    sampling: Sampling = field(default_factory=Sampling)
    stream: bool = True
    images: tuple[str, ...] = ()


class Chunk(NamedTuple):
    """One response of a server: text that was not there before.

    ``finish_reason`` is empty until the end; token counts are None where the server does not
    send them.
    """

    text: str
    finish_reason: str = ""
    output_tokens: int | None = None
    input_tokens: int | None = None
    logprobs: tuple[Any, ...] = ()
    prompt_logprobs: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """Texts to turn into vectors.

    Attributes:
        inputs: Each is a text, or the ids of its tokens.
        input_type: ``query`` or ``passage`` for models that treat them differently; empty for the
            model's default.
        dimensions: Leading numbers of each vector to keep (Matryoshka); None for all.
        truncate: What to do with a text longer than the context: ``none`` refuses it, ``end`` and
            ``start`` drop tokens there; empty for the model's default.
    """

    inputs: tuple[str | tuple[int, ...], ...]
    input_type: str = ""
    dimensions: int | None = None
    truncate: str = ""


@dataclass(frozen=True, slots=True)
class EmbedAnswer:
    """Vectors in the order of the request; ``token_counts`` is empty when they are not known."""

    vectors: tuple[tuple[float, ...], ...]
    token_counts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """Documents to sort by relevance to a query.

    Attributes:
        query: What is searched for.
        documents: Candidates.
        top_n: How many of the best to return; None for all.
        truncate: As in :class:`EmbedRequest`.
    """

    query: str
    documents: tuple[str, ...]
    top_n: int | None = None
    truncate: str = ""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A document by its index in the request. ``score`` is what to sort by; ``logit`` is the
    model's number before its activation, None where it is not sent."""

    index: int
    score: float
    logit: float | None = None


@dataclass(frozen=True, slots=True)
class RerankAnswer:
    """The best document first. ``token_counts`` has the order of the request's documents; it is
    empty when they are not known."""

    results: tuple[Ranked, ...]
    token_counts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ClassifyRequest:
    """Texts, or pairs of texts, to label.

    Attributes:
        inputs: Texts or pairs, one or the other.
        truncate: As in :class:`EmbedRequest`.
        raw_scores: Ask for logits, without the model's activation.
    """

    inputs: tuple[str, ...] | tuple[Pair, ...]
    truncate: str = ""
    raw_scores: bool = False


@dataclass(frozen=True, slots=True)
class Classification:
    """The best label, and the score of each in the model's order."""

    label: str
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ClassifyAnswer:
    """In the order of the request."""

    results: tuple[Classification, ...]


TaskRequest = GenerateRequest | EmbedRequest | RerankRequest | ClassifyRequest
TaskAnswer = EmbedAnswer | RerankAnswer | ClassifyAnswer

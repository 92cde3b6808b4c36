"""Requests and answers of each task, in OpenAI's and Hugging Face's terms.

Independent of tensors; request schemas (:mod:`trtbuild.signature.dialects`) translate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# Fields with the same names in Sampling and in vLLM's SamplingParams.
_OPTIONAL = (
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "seed", "logprobs", "prompt_logprobs",
)  # fmt: skip

SampleValue = int | float | bool | list[str]
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling settings. None leaves a value to the server.

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
        """Whether log probabilities are requested."""
        return self.logprobs is not None or self.prompt_logprobs is not None

    def given(self) -> dict[str, SampleValue]:
        """Return the values that are set, by vLLM's names."""
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
    """A prompt. A chat is rendered into one by the model's template (:mod:`trtbuild.chat`).

    Attributes:
        prompt: Text in the model's own format.
        sampling: Sampling settings.
        stream: Request chunks as they come instead of one response.
        images: Base64 text of image files, for vision models.
    """

    prompt: str
    sampling: Sampling = field(default_factory=Sampling)
    stream: bool = True
    images: tuple[str, ...] = ()


class Chunk(NamedTuple):
    """One response of a server, with its new text.

    ``finish_reason`` is empty until the end; token counts are None if the server does not send
    them.
    """

    text: str
    finish_reason: str = ""
    output_tokens: int | None = None
    input_tokens: int | None = None
    logprobs: tuple[Any, ...] = ()
    prompt_logprobs: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """A request for vectors of texts.

    Attributes:
        inputs: Each is a text, or the ids of its tokens.
        input_type: ``query`` or ``passage`` for models that treat them differently; empty for the
            model's default.
        dimensions: How many leading dimensions to keep (Matryoshka); None for all.
        truncate: What to do with a text longer than the context: ``none`` rejects it, ``end`` and
            ``start`` drop tokens there; empty for the model's default.
    """

    inputs: tuple[str | tuple[int, ...], ...]
    input_type: str = ""
    dimensions: int | None = None
    truncate: str = ""


@dataclass(frozen=True, slots=True)
class EmbedAnswer:
    """Vectors in the order of the request; ``token_counts`` is empty if unknown."""

    vectors: tuple[tuple[float, ...], ...]
    token_counts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """A request to sort documents by relevance to a query.

    Attributes:
        query: The search query.
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
    """A document by its index in the request. Results are sorted by ``score``; ``logit`` is the
    model's output before its activation, None if it is not sent."""

    index: int
    score: float
    logit: float | None = None


@dataclass(frozen=True, slots=True)
class RerankAnswer:
    """Ranked documents, the best first. ``token_counts`` has the order of the request's documents
    and is empty if unknown."""

    results: tuple[Ranked, ...]
    token_counts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ClassifyRequest:
    """A request to classify texts or pairs of texts.

    Attributes:
        inputs: Either texts or pairs.
        truncate: As in :class:`EmbedRequest`.
        raw_scores: Request logits, without the model's activation.
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
    """Classifications in the order of the request."""

    results: tuple[Classification, ...]


TaskRequest = GenerateRequest | EmbedRequest | RerankRequest | ClassifyRequest
TaskAnswer = EmbedAnswer | RerankAnswer | ClassifyAnswer

"""Requests and answers of each task, in OpenAI's and Hugging Face's terms.

Independent of tensors; request schemas (:mod:`trtbuild.signature.dialects`) translate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from trtbuild.signature.sampling import Guide, Sampling

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """A prompt. A chat is rendered into one by the model's template (:mod:`trtbuild.chat`).

    Attributes:
        prompt: Text in the model's own format.
        sampling: Sampling settings.
        stream: Request chunks as they come instead of one response.
        images: Base64 text of image files, for vision models.
        guide: The form of the text.
        adapter: Name of a LoRA adapter; empty for the model itself.
        priority: Triton's: 1 is the most urgent; 0 leaves it to the model.
    """

    prompt: str
    sampling: Sampling = field(default_factory=Sampling)
    stream: bool = True
    images: tuple[str, ...] = ()
    guide: Guide | None = None
    adapter: str = ""
    priority: int = 0


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
    """A request for vectors of texts: dense, sparse or one for each token, as the model has them.

    Attributes:
        inputs: Each is a text, or the ids of its tokens.
        input_type: ``query`` or ``passage`` for models that treat them differently; empty for the
            model's default.
        dimensions: How many leading dimensions to keep (Matryoshka); None for all.
        truncate: What to do with a text longer than the context: ``none`` rejects it, ``end`` and
            ``start`` drop tokens there; empty for the model's default.
        embedding_type: ``float``, ``binary``, ``ubinary``, ``int8`` or ``uint8``; empty for float.
        prompt_name: A prompt by the checkpoint's own name, instead of ``input_type``.
    """

    inputs: tuple[str | tuple[int, ...], ...]
    input_type: str = ""
    dimensions: int | None = None
    truncate: str = ""
    embedding_type: str = ""
    prompt_name: str = ""


@dataclass(frozen=True, slots=True)
class EmbedAnswer:
    """Vectors in the order of the request; ``token_counts`` is empty if unknown."""

    vectors: tuple[tuple[float, ...], ...]
    token_counts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SparseAnswer:
    """Sparse vectors in the order of the request: weights by vocabulary index."""

    vectors: tuple[Mapping[int, float], ...]
    token_counts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class MultiVectorAnswer:
    """The vectors of each text's tokens, in the order of the request."""

    vectors: tuple[tuple[tuple[float, ...], ...], ...]
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
class ScoreRequest:
    """A request for one number for each text or pair of texts; a reranker takes pairs of query and
    document. ``truncate`` is as in :class:`EmbedRequest`."""

    inputs: tuple[str, ...] | tuple[Pair, ...]
    truncate: str = ""


@dataclass(frozen=True, slots=True)
class ScoreAnswer:
    """Scores in the order of the request; ``index`` of each is its place."""

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
class ImageClassifyRequest:
    """A request to classify images: base64 text of each file. ``raw_scores`` is as in
    :class:`ClassifyRequest`."""

    images: tuple[str, ...]
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
    token_counts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenClassifyRequest:
    """A request for the labelled parts of texts.

    Attributes:
        inputs: The texts.
        truncate: As in :class:`EmbedRequest`.
        aggregation: How tokens become entities, in transformers' words: ``none``, ``simple``,
            ``first``, ``average`` or ``max``; empty for the model's default.
        raw_scores: Request the logits of every token, too.
    """

    inputs: tuple[str, ...]
    truncate: str = ""
    aggregation: str = ""
    raw_scores: bool = False


class Entity(NamedTuple):
    """A labelled part of a text: ``text[start:end]``, counted in characters."""

    label: str
    score: float
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TokenClassifyAnswer:
    """The entities of each text, in the order of the request.

    With ``raw_scores``, ``scores`` has the logits of each token of each text; it is empty if the
    model does not send them.
    """

    results: tuple[tuple[Entity, ...], ...]
    token_counts: tuple[int, ...] = ()
    scores: tuple[tuple[tuple[float, ...], ...], ...] = ()


@dataclass(frozen=True, slots=True)
class TranscribeRequest:
    """A request for the text of recordings.

    Attributes:
        audio: Base64 text of each audio file.
        language: A code such as ``en``; empty to let the model detect it.
        prompt: Text before the recording, for the spelling of names.
        translate: Return English instead of the spoken language.
        timestamps: Return segments with their times.
    """

    audio: tuple[str, ...]
    language: str = ""
    prompt: str = ""
    translate: bool = False
    timestamps: bool = False


class Segment(NamedTuple):
    """A part of a transcription, with its times in seconds."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Transcription:
    """The text of a recording; ``language`` is empty and ``seconds`` None if they are not sent."""

    text: str
    language: str = ""
    seconds: float | None = None
    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True)
class TranscribeAnswer:
    """Transcriptions in the order of the request."""

    results: tuple[Transcription, ...]
    token_counts: tuple[int, ...] = ()


TaskRequest = (
    GenerateRequest | EmbedRequest | RerankRequest | ScoreRequest | ClassifyRequest
    | ImageClassifyRequest | TokenClassifyRequest | TranscribeRequest
)  # fmt: skip
TaskAnswer = (
    EmbedAnswer | SparseAnswer | MultiVectorAnswer | RerankAnswer | ScoreAnswer | ClassifyAnswer
    | TokenClassifyAnswer | TranscribeAnswer
)  # fmt: skip

"""The interface of an adapter: one class, and the records that it takes and returns.

The runner brings this module into the adapter's environment, so it imports the standard library
only, and an adapter need not depend on ``trtbuild-backends``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from trtbuild_backends.threads import iterate_in_thread

__all__ = [
    "AbstractBackend",
    "Classes",
    "ClassifyRequest",
    "Delta",
    "EmbedRequest",
    "Embedding",
    "GenerateRequest",
    "ModelFacts",
    "ModelSource",
    "RequestError",
    "ScoreRequest",
    "Scores",
    "TranscribeRequest",
    "Transcript",
    "iterate_in_thread",
]


class RequestError(Exception):
    """A request that the model cannot answer as it is; the client gets 400 with the message."""


@dataclass(frozen=True)
class ModelSource:
    """What the registry says of the model.

    Attributes:
        name: As clients write it.
        source: A directory, or an id that the framework resolves.
        revision: Of the source; empty for its default.
        options: The adapter's own settings.
        vision: For a family of trtbuild's table how it takes images: ``placeholder``, ``marker``,
            ``after``, ``tasks``, ``sampling``, ``engine``, ``boxes``; empty for any other model.
    """

    name: str
    source: str
    revision: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    vision: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelFacts:
    """What :meth:`AbstractBackend.load` found.

    Attributes:
        task: ``generate``, ``embed``, ``rerank``, ``classify`` or ``transcribe``.
        context_length: Tokens of prompt and answer together; 0 if unknown.
        images: Whether prompts may have images.
        labels: What a text can be classified as, in the order of the scores.
        timestamps: Whether transcriptions can have the duration and segments.
        boxes: How an answer marks boxes, ``ref-det`` or empty; the gateway lists them.
    """

    task: str = "generate"
    context_length: int = 0
    images: bool = False
    labels: Sequence[str] = ()
    timestamps: bool = False
    boxes: str = ""


@dataclass(frozen=True)
class GenerateRequest:
    """A prompt in the model's own format.

    Attributes:
        prompt: The text.
        sampling: By vLLM's names, such as ``max_tokens``, ``temperature`` and ``stop``.
        images: Base64 text of each image file.
    """

    prompt: str
    sampling: Mapping[str, Any] = field(default_factory=dict)
    images: Sequence[str] = ()


@dataclass(frozen=True)
class Delta:
    """A piece of an answer.

    Attributes:
        text: The new text.
        finish_reason: ``stop`` or ``length`` in the last piece; empty before.
        tokens: How many the piece has; None if unknown.
        prompt_tokens: Tokens of the prompt; None if unknown.
        logprobs: JSON texts as vLLM's Triton backend sends them: a list with
            ``{token id: {logprob, rank, decoded_token}}`` of each token, and in the first piece
            that of the prompt's tokens as a second text.
    """

    text: str
    finish_reason: str = ""
    tokens: int | None = None
    prompt_tokens: int | None = None
    logprobs: Sequence[str] = ()


@dataclass(frozen=True)
class EmbedRequest:
    """A text, or the ids of its tokens; ``dimensions`` is how many of the vector to keep."""

    input: str | Sequence[int]
    dimensions: int | None = None


@dataclass(frozen=True)
class Embedding:
    """A vector; ``tokens`` of the text, None if unknown."""

    vector: Sequence[float]
    tokens: int | None = None


@dataclass(frozen=True)
class ScoreRequest:
    """Pairs of query and document."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Scores:
    """How relevant each document is to its query, in the order of the request; ``tokens`` of each
    pair, empty if unknown."""

    scores: Sequence[float]
    tokens: Sequence[int] = ()


@dataclass(frozen=True)
class ClassifyRequest:
    """Texts or pairs of texts; ``raw_scores`` asks for logits instead of probabilities."""

    inputs: Sequence[str] | Sequence[tuple[str, str]]
    raw_scores: bool = False


@dataclass(frozen=True)
class Classes:
    """For each text the score of each label, in the order of :attr:`ModelFacts.labels`; ``tokens``
    of each text, empty if unknown."""

    scores: Sequence[Sequence[float]]
    tokens: Sequence[int] = ()


@dataclass(frozen=True)
class TranscribeRequest:
    """A recording.

    Attributes:
        audio: The bytes of a WAV file.
        language: Its language; empty: the model detects it.
        prompt: Text that precedes it, for names and spelling.
        translate: Whether the text is to be English.
        timestamps: Whether segments are wanted.
    """

    audio: bytes
    language: str = ""
    prompt: str = ""
    translate: bool = False
    timestamps: bool = False


@dataclass(frozen=True)
class Transcript:
    """The text of a recording.

    Attributes:
        text: All of it.
        language: The detected language; empty if unknown.
        duration: Of the recording, in seconds.
        segments: Start, end (in seconds) and text of each part.
        tokens: Generated tokens; None if unknown.
    """

    text: str
    language: str = ""
    duration: float = 0.0
    segments: Sequence[tuple[float, float, str]] = ()
    tokens: int | None = None


class AbstractBackend(ABC):
    """Runs one model. The runner makes one instance, and calls every method in its event loop.

    A method that computes must not block the loop: :func:`iterate_in_thread` and
    :func:`asyncio.to_thread` are for that. A loop that is silent for four seconds counts as hung,
    except while the model is loaded.

    Attributes:
        sampling: Names of the sampling parameters that it takes; None: it checks them itself.
            Others are refused by name.
    """

    sampling: ClassVar[frozenset[str] | None] = None

    def __init__(self, model: ModelSource) -> None:
        self.model = model

    @abstractmethod
    async def load(self) -> ModelFacts:
        """Load the model. Whatever it raises is the reason that the operator reads."""

    async def unload(self) -> None:  # noqa: B027 - most have nothing to do
        """Let go of the model; the process ends next, whatever happens."""

    def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:  # noqa: ARG002
        """Yield the answer piece by piece. A client that leaves closes the iterator.

        Raises:
            RequestError: The model cannot answer this request.
        """
        raise RequestError(f"{self.model.name!r} cannot generate text")

    async def embed(self, request: EmbedRequest) -> Embedding:  # noqa: ARG002
        """Return the vector of a text.

        Raises:
            RequestError: The model cannot answer this request.
        """
        raise RequestError(f"{self.model.name!r} cannot embed")

    async def score(self, request: ScoreRequest) -> Scores:  # noqa: ARG002
        """Return the relevance of documents.

        Raises:
            RequestError: The model cannot answer this request.
        """
        raise RequestError(f"{self.model.name!r} cannot rerank")

    async def classify(self, request: ClassifyRequest) -> Classes:  # noqa: ARG002
        """Return the scores of texts.

        Raises:
            RequestError: The model cannot answer this request.
        """
        raise RequestError(f"{self.model.name!r} cannot classify")

    async def transcribe(self, request: TranscribeRequest) -> Transcript:  # noqa: ARG002
        """Return the text of a recording.

        Raises:
            RequestError: The model cannot answer this request.
        """
        raise RequestError(f"{self.model.name!r} cannot transcribe")

    async def health(self) -> None:  # noqa: B027 - healthy unless it says otherwise
        """Raise if the model can no longer answer. Asked every second: it must be cheap."""

    def usage(self) -> Mapping[str, float]:
        """Return figures for metrics, such as ``engine_waiting`` and ``kv_cache_usage``."""
        return {}

"""A question: what is asked about a row, whatever the target's protocol is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from trtbuild.signature.requests import EmbedRequest, GenerateRequest, RerankRequest
from trtbuild.signature.sampling import Sampling
from trtbuild_batch.inputs import Row


@dataclass(frozen=True, slots=True)
class Conversation:
    """A chat: messages with ``role`` and ``content``."""

    messages: tuple[Mapping[str, str], ...]
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class Call:
    """A request of OpenAI's API as a row has it.

    Attributes:
        path: Below ``/v1``, such as ``/chat/completions``.
        body: Its JSON object.
        headers: More headers of the request, such as ``traceparent``.
    """

    path: str
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


Question = GenerateRequest | Conversation | EmbedRequest | RerankRequest | Call


def requests_of(question: Question) -> int:
    """Return how many requests a server counts for a question, at most."""
    if isinstance(question, RerankRequest):
        return 1 + len(question.documents)
    if isinstance(question, GenerateRequest | Conversation):
        return _count(question.sampling.more.get("n"))
    if isinstance(question, EmbedRequest):
        return len(question.inputs)
    body = question.body
    texts = sum(_length(body.get(name)) for name in _TEXTS)
    return max(1, texts) * _count(body.get("n"))


_TEXTS = ("prompt", "input", "documents", "text_1", "text_2", "queries")
"""Fields of OpenAI's and vLLM's bodies that may have several texts."""


def _length(found: Any) -> int:
    """Several texts or token lists; one text, one token list or the messages of a chat."""
    several = isinstance(found, list) and bool(found) and isinstance(found[0], str | list)
    return len(found) if several else 1 if found else 0


def _count(found: Any) -> int:
    return found if isinstance(found, int) and found > 1 else 1


class RowError(Exception):
    """A row that nothing can be asked about; its message is for people."""


class Task(Protocol):
    """Makes questions of rows."""

    @property
    def output(self) -> str:
        """What the answers are: ``text``, ``vector``, ``scores`` or ``json``."""

    @property
    def columns(self) -> frozenset[str]:
        """The columns of the input that questions are made of."""

    def question(self, row: Row) -> Question:
        """Return what to ask. RowError if the row does not have what it takes."""

    def about(self) -> Mapping[str, Any]:
        """Everything that the answers depend on, for the fingerprint of the job."""

"""A question: what is asked about a row, whatever the target's protocol is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from trtbuild.signature.requests import EmbedRequest, GenerateRequest, RerankRequest, Sampling
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

"""What a call returns, and how it fails."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Why an item has no answer."""

    INPUT = "input"
    """The row cannot be made into a request."""
    REFUSED = "refused"
    """The server refuses the request; it would again."""
    CONTEXT = "context_length"
    """The prompt is longer than the model's context."""
    RATE = "rate_limited"
    """The server wants fewer requests."""
    UNAVAILABLE = "unavailable"
    """The server cannot answer now: it is overloaded or starting."""
    TIMEOUT = "timeout"
    """The answer was not complete in time."""
    CONNECTION = "connection"
    """Nothing listens, or the connection broke."""
    SERVER = "server_error"
    """The server failed."""
    MALFORMED = "malformed"
    """The answer is not what the API promises."""
    EXPIRED = "expired"
    """Nobody wants the answer any more."""
    DELIVERIES = "deliveries"
    """A queue has delivered the message too often."""


_FINAL = frozenset({Kind.INPUT, Kind.REFUSED, Kind.CONTEXT, Kind.EXPIRED, Kind.DELIVERIES})
_OVERLOADED = frozenset({Kind.RATE, Kind.UNAVAILABLE, Kind.TIMEOUT})


class CallError(Exception):
    """A call without an answer.

    Attributes:
        kind: Why.
        retry_after: Seconds that the server asks to wait; None without.
        fatal: Every other call will fail, too: a wrong key, an unknown model.
    """

    def __init__(
        self, kind: Kind, message: str, *, retry_after: float | None = None, fatal: bool = False
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.retry_after = retry_after
        self.fatal = fatal

    @property
    def final(self) -> bool:
        """Whether another attempt would fail as well."""
        return self.kind in _FINAL

    @property
    def overloaded(self) -> bool:
        """Whether fewer calls at a time could help."""
        return self.kind in _OVERLOADED


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer: text, numbers, or JSON text. Token counts are None if the server has none."""

    output: Any
    finish_reason: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The end of an item: an answer or an error, after ``attempts`` calls.

    ``latency_ms`` is that of the last call.
    """

    outcome: Outcome | None
    attempts: int
    latency_ms: float
    error: str = ""
    kind: str = ""

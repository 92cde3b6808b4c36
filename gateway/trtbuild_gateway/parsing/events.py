"""What a parser of a model's text does, and what it reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from trtbuild.signature.boxes import Box


class Content(NamedTuple):
    """More text of the answer."""

    text: str


class Reasoning(NamedTuple):
    """More text that the model wrote before its answer."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """A complete tool call follows."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """Arguments of a call: a JSON object."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    """The call is complete."""

    index: int


class Boxes(NamedTuple):
    """Regions of the image that the whole answer marks."""

    boxes: Sequence[Box]


Event = Content | Reasoning | CallStart | CallArguments | CallEnd | Boxes


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool; ``arguments`` is the text of a JSON object."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """The whole answer.

    Attributes:
        content: The text for the user; None if there is none.
        reasoning: The text before it; None if there is none.
        tool_calls: The calls, in the model's order.
        finish_reason: ``tool_calls`` if the model stopped after a call, else what the engine said.
        boxes: The regions that the content marks; None for a model that marks none.
    """

    content: str | None
    reasoning: str | None
    tool_calls: Sequence[ToolCall]
    finish_reason: str
    boxes: Sequence[Box] | None = None


class Ended(NamedTuple):
    """The last events of an answer, and the whole of it."""

    events: Sequence[Event]
    message: Message


class Parser(Protocol):
    """Takes the text of one answer piece by piece, and never raises."""

    def feed(self, text: str) -> Sequence[Event]:
        """Return what is certain after more text."""

    def finish(self, reason: str = "stop") -> Ended:
        """Return the rest. ``length`` as the reason means that the text was cut."""

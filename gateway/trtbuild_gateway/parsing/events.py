"""What a parser reports about the text of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


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


Event = Content | Reasoning | CallStart | CallArguments | CallEnd


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
    """

    content: str | None
    reasoning: str | None
    tool_calls: Sequence[ToolCall]
    finish_reason: str

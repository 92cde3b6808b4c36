"""The answer that a parser builds: its text, its calls, and the events that report them."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable

from trtbuild_gateway.parsing.channel import Channel
from trtbuild_gateway.parsing.decode import Call
from trtbuild_gateway.parsing.events import (
    CallArguments,
    CallEnd,
    CallStart,
    Content,
    Event,
    Message,
    Reasoning,
    ToolCall,
)
from trtbuild_gateway.parsing.family import Family


class Answer:
    """Collects what a parser makes of one text.

    Attributes:
        content: The text for the user.
        reasoning: The text before it.
        calls: The tool calls, in the model's order.
    """

    def __init__(self, family: Family, *, parallel: bool, new_id: Callable[[], str] | None) -> None:
        self.content = Channel(Content, self._report, trim="content" in family.trim)
        self.reasoning = Channel(Reasoning, self._report, trim="reasoning" in family.trim)
        self.calls: list[ToolCall] = []
        self._own_ids = family.id == "own"
        self._parallel = parallel
        self._new_id = new_id or (_alnum9 if family.id == "alnum9" else call_id)
        self._events: list[Event] = []

    def _report(self, event: Event) -> None:
        self._events.append(event)

    def border(self) -> None:
        """Note a marker in the text."""
        self.content.border()
        self.reasoning.border()

    def add_call(self, call: Call, arguments: str) -> None:
        """Report a call, unless there is one already and only one may be returned."""
        if self.calls and not self._parallel:
            return
        index = len(self.calls)
        own = call.id if self._own_ids else ""
        made = ToolCall(own or self._new_id(), call.name, arguments)
        self.calls.append(made)
        self._report(CallStart(index, made.id, made.name))
        self._report(CallArguments(index, arguments))
        self._report(CallEnd(index))

    def flush(self) -> None:
        """Report the text that is held back, at the end."""
        self.reasoning.flush()
        self.content.flush()

    def take(self) -> list[Event]:
        """Return the events since the last time."""
        events, self._events = self._events, []
        return events

    def message(self, reason: str) -> Message:
        """Return the whole answer."""
        ended = "tool_calls" if self.calls and reason == "stop" else reason
        return Message(self.content.text, self.reasoning.text, tuple(self.calls), ended)


def call_id() -> str:
    """Return a new id of a call."""
    return "call_" + secrets.token_hex(12)


def _alnum9() -> str:
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(9))

"""Tool calls that the engine was made to write: JSON, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from trtbuild_gateway.parsing.answer import call_id
from trtbuild_gateway.parsing.decode import call_of, dump, load
from trtbuild_gateway.parsing.events import (
    CallArguments,
    CallEnd,
    CallStart,
    Content,
    Ended,
    Event,
    Message,
    ToolCall,
)


class GuidedParser:
    """Reads a list of calls, or the arguments of the one tool that was asked for.

    Args:
        tool: The only tool that can be called; None for a list of calls.
        parallel: Whether more than one call may be returned.
        new_id: Makes the id of a call.
    """

    def __init__(
        self,
        tool: str | None = None,
        *,
        parallel: bool = True,
        new_id: Callable[[], str] = call_id,
    ) -> None:
        self._tool = tool
        self._parallel = parallel
        self._new_id = new_id
        self._parts: list[str] = []

    def feed(self, text: str) -> list[Event]:
        """Take more text; calls are known at the end."""
        self._parts.append(text)
        return []

    def finish(self, reason: str = "stop") -> Ended:
        """Return the calls; the text as content if it is not JSON, and nothing if it was cut."""
        text = "".join(self._parts)
        try:
            made = self._read(text)
        except (ValueError, RecursionError):
            rest = None if reason == "length" else text or None
            return Ended([Content(rest)] if rest else [], Message(rest, None, (), reason))
        events: list[Event] = []
        for index, call in enumerate(made):
            events += [
                CallStart(index, call.id, call.name),
                CallArguments(index, call.arguments),
                CallEnd(index),
            ]
        ended = "tool_calls" if made and reason == "stop" else reason
        return Ended(events, Message(None, None, tuple(made), ended))

    def _read(self, text: str) -> list[ToolCall]:
        value = load(text)
        if self._tool is not None:
            if not isinstance(value, dict):
                raise ValueError("the arguments are not an object")
            return [ToolCall(self._new_id(), self._tool, dump(value))]
        rows = value if isinstance(value, list) else [value]
        calls = [call_of(row) for row in rows]
        return [
            ToolCall(self._new_id(), call.name, dump(call.arguments))
            for call in (calls if self._parallel else calls[:1])
        ]


def one_call(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the JSON schema of the arguments of one tool."""
    return parameters or {"type": "object"}


def some_calls(tools: Mapping[str, Mapping[str, Any]], *, parallel: bool) -> Mapping[str, Any]:
    """Return the JSON schema of a list of calls.

    Args:
        tools: The parameters of each tool.
        parallel: Whether there may be more than one.
    """
    definitions: dict[str, Any] = {}
    kinds = []
    for name, parameters in tools.items():
        own = json.loads(json.dumps(parameters)) if parameters else {"type": "object"}
        for key in ("$defs", "definitions"):
            definitions.setdefault(key, {}).update(own.pop(key, {}))
        kinds.append(
            {
                "type": "object",
                "properties": {"name": {"const": name}, "arguments": own},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    items = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    schema: dict[str, Any] = {"type": "array", "minItems": 1, "items": items}
    if not parallel:
        schema["maxItems"] = 1
    return {**schema, **{key: value for key, value in definitions.items() if value}}

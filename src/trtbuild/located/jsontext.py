"""JSON with the place of every key, so that a finding can point at it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from trtbuild.located.positions import NOWHERE, Position

_KEY = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_COLON = re.compile(r"\s*:")


@dataclass(frozen=True, slots=True)
class JsonText:
    """A parsed JSON file, or the place and reason why it is none."""

    value: Any = None
    problem: str = ""
    at: Position = NOWHERE
    keys: dict[str, Position] | None = None
    repeated: tuple[tuple[str, Position], ...] = ()

    def of(self, key: str) -> Position:
        """Where a key of the outermost object stands."""
        return (self.keys or {}).get(key, NOWHERE)


def read_json(content: bytes) -> JsonText:
    """Parse bytes as JSON; never raises."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        return JsonText(problem="it is not UTF-8", at=Position(line, column))
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return JsonText(problem=error.msg, at=Position(error.lineno, error.colno))
    except RecursionError:
        return JsonText(problem="it is nested too deeply", at=Position(1, 1))
    except ValueError as error:  # an integer of more than 4300 digits
        return JsonText(problem=str(error), at=Position(1, 1))
    places = _top_keys(text) if isinstance(value, dict) else []
    seen: dict[str, Position] = {}
    repeated = [(key, at) for key, at in places if seen.setdefault(key, at) is not at]
    return JsonText(value=value, keys=dict(places), repeated=tuple(repeated))


def _top_keys(text: str) -> list[tuple[str, Position]]:
    """Keys of the outermost object, in the order of a text that is known to be JSON."""
    found: list[tuple[str, Position]] = []
    depth, at, line, start = 0, 0, 1, 0
    while at < len(text):
        char = text[at]
        if char == '"':
            match = _KEY.match(text, at)
            assert match
            token = match.group()
            if depth == 1 and _COLON.match(text, match.end()):
                place = Position(line, at - start + 1, len(token))
                found.append((json.loads(token), place))
            at = match.end()
            continue
        depth += (char in "{[") - (char in "}]")
        if char == "\n":
            line, start = line + 1, at + 1
        at += 1
    return found

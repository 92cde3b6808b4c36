"""JSON with the place of every key, for findings."""

from __future__ import annotations

import json
import re

from trtbuild.located.positions import Position
from trtbuild.located.text import LocatedText, not_utf8, repeated_keys

_KEY = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_COLON = re.compile(r"\s*:")


def read_json(content: bytes) -> LocatedText:
    """Parse bytes as JSON; never raises."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        return not_utf8(content, error)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return LocatedText(problem=error.msg, at=Position(error.lineno, error.colno))
    except RecursionError:
        return LocatedText(problem="it is nested too deeply", at=Position(1, 1))
    except ValueError as error:  # an integer with more than 4300 digits
        return LocatedText(problem=str(error), at=Position(1, 1))
    places = _top_keys(text) if isinstance(value, dict) else []
    return LocatedText(value=value, keys=dict(places), repeated=repeated_keys(places))


def _top_keys(text: str) -> list[tuple[str, Position]]:
    """Return the keys of the outermost object of valid JSON, in order."""
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

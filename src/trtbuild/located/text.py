"""A parsed file of any format with the places of its keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trtbuild.located.positions import NOWHERE, Position


@dataclass(frozen=True, slots=True)
class LocatedText:
    """A parsed file, or the place and reason why it cannot be parsed.

    A key inside another one is called ``group.key``.
    """

    value: Any = None
    problem: str = ""
    at: Position = NOWHERE
    keys: Mapping[str, Position] = field(default_factory=dict)
    repeated: tuple[tuple[str, Position], ...] = ()
    file: str = ""

    def of(self, key: str) -> Position:
        """Return the place of a key, or of the nearest key around it."""
        while key not in self.keys and "." in key:
            key = key.rpartition(".")[0]
        return self.keys.get(key, NOWHERE)


def repeated_keys(keys: Iterable[tuple[str, Position]]) -> tuple[tuple[str, Position], ...]:
    """Return repeated keys with the place of each further occurrence."""
    seen: set[str] = set()
    again = []
    for key, at in keys:
        if key in seen:
            again.append((key, at))
        seen.add(key)
    return tuple(again)


def not_utf8(content: bytes, error: UnicodeDecodeError, file: str = "") -> LocatedText:
    """Return the error for bytes that are not UTF-8, at the first invalid one."""
    line = content.count(b"\n", 0, error.start) + 1
    column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
    return LocatedText(problem="it is not UTF-8", at=Position(line, column), file=file)

"""A parsed file with the places of its keys, whatever its format."""

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
        """Where a key is, or else the nearest one around it."""
        while key not in self.keys and "." in key:
            key = key.rpartition(".")[0]
        return self.keys.get(key, NOWHERE)


def repeated_keys(keys: Iterable[tuple[str, Position]]) -> tuple[tuple[str, Position], ...]:
    """Keys that occur again, with the place of each further occurrence."""
    seen: set[str] = set()
    again = []
    for key, at in keys:
        if key in seen:
            again.append((key, at))
        seen.add(key)
    return tuple(again)


def not_utf8(content: bytes, error: UnicodeDecodeError, file: str = "") -> LocatedText:
    """For bytes that are no UTF-8: the place of the first wrong one."""
    line = content.count(b"\n", 0, error.start) + 1
    column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
    return LocatedText(problem="it is not UTF-8", at=Position(line, column), file=file)

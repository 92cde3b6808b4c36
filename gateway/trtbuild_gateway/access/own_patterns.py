"""Whether a pattern of the settings has a greatest length and a bounded cost.

The search goes back when a repeat does not fit, so it can take very long. It cannot without
unbounded repeats, repeats of repeats, references and looking around, and with few ways to share a
text among the repeats.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MOST_REPEATS = 256
_MOST_WAYS = 100_000
_MOST_WIDTH = 1000
_ESCAPES = re.compile(
    r"\\(?:[^\w\s]|[dDwWsStnrb]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[pP]\{\w{1,40}\})"
)
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\\[])*\]")
_REPEAT = re.compile(r"(?:([*+])|\?|\{(\d{1,4})(,?)(\d{0,4})\})[?+]?")


@dataclass(slots=True)
class _Group:
    """A part of a pattern: its most characters, and whether it has a repeat of variable size."""

    width: int = 0
    varies: bool = False


class _Scan:
    """Reads a pattern from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._ways = 1
        self._groups = [_Group()]
        self._last = _Group()  # what was read last, and may be repeated

    @property
    def width(self) -> int:
        """The most characters of a match."""
        return self._groups[0].width

    def problem(self) -> str:
        """Read all of it, and return what is wrong."""
        if match := re.match(r"\(\?[ims]{1,3}\)", self._text):
            self._at = match.end()
        while self._at < len(self._text):
            if found := self._step():
                return found
        if self.width > _MOST_WIDTH:
            return f"a match may have {self.width} characters, the most is {_MOST_WIDTH}"
        if self._ways > _MOST_WAYS:
            return "it has too many ways to match: use fewer or shorter repeats"
        return ""

    def _step(self) -> str:
        text, at = self._text, self._at
        one = text[at]
        if one in "*+?{":
            return self._repeat()
        if one in "^$":
            return f"{one!r} is not possible: texts arrive in pieces"
        if one == "(":
            return self._open()
        if one == ")":
            self._at += 1
            self._read(self._groups.pop() if len(self._groups) > 1 else _Group())
            return ""
        kind = {"\\": _ESCAPES, "[": _CLASS}.get(one)
        match = kind.match(text, at) if kind else None
        if kind and match is None:
            return f"{text[at : at + 8]!r} is not possible"
        self._at = match.end() if match else at + 1
        self._read(_Group(1))
        return ""

    def _read(self, part: _Group) -> None:
        self._last = part
        self._groups[-1].width += part.width
        self._groups[-1].varies |= part.varies

    def _open(self) -> str:
        if self._text.startswith("(?", self._at) and not self._text.startswith("(?:", self._at):
            return f"{self._text[self._at : self._at + 4]!r} is not possible; groups are (?:…)"
        self._at += 3 if self._text.startswith("(?:", self._at) else 1
        self._groups.append(_Group())
        return ""

    def _repeat(self) -> str:
        match = _REPEAT.match(self._text, self._at)
        if match is None:
            return (
                f"{self._text[self._at : self._at + 8]!r} is not possible; write \\{{ for a brace"
            )
        self._at = match.end()
        endless, least, comma, most = match.groups()
        if endless or (comma and not most):
            return f"the repeat {match[0]!r} has no greatest number"
        low = int(least or 0)
        high = 1 if least is None else int(most) if comma else low
        if high > _MOST_REPEATS:
            return f"the repeat {match[0]!r} is above {_MOST_REPEATS}"
        if self._last.varies and high > 1:
            return f"{match[0]!r} repeats a group that has a repeat"
        if high > low:
            self._ways *= high - low + 1
            self._groups[-1].varies = True
        self._groups[-1].width += self._last.width * max(0, high - 1)
        return ""


def check_pattern(text: str) -> tuple[int, str]:
    """Return the most characters of a match, and what is wrong with a pattern, if anything is."""
    scan = _Scan(text)
    problem = scan.problem() if text else "it is empty"
    return scan.width, problem

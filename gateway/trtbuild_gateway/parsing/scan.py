"""Find the end of a tool call in a text that arrives in pieces."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from trtbuild_gateway.parsing.family import Close, Region

_CONTEXT = 256  # characters in front of a marker that may decide about it
_HEAD = 256  # characters within which a text must look like a call


class Found(NamedTuple):
    """A region that has ended: its text, what ended it, and the text after it."""

    raw: str
    close: str
    rest: str


class _Patterns(NamedTuple):
    outside: re.Pattern[str]
    inside: re.Pattern[str]
    closes: dict[str, list[Close]]
    longer: tuple[str, ...]
    overlap: int


def _alternatives(literals: list[str]) -> str:
    return "|".join(re.escape(one) for one in sorted(literals, key=len, reverse=True))


@cache
def _patterns(region: Region) -> _Patterns:
    closes: dict[str, list[Close]] = {}
    for close in region.close:
        closes.setdefault(close.text, []).append(close)
    outside = [*region.skip, *region.strings, *closes]
    outside += list("[]{}()") if region.balanced else list(region.open)
    inside = [*region.strings, *("\n" + text for text in closes if region.escape)]
    escaped = r"\\.|" if region.escape and region.strings else ""
    return _Patterns(
        re.compile(_alternatives(outside) or r"(?!)", re.DOTALL),
        re.compile(escaped + (_alternatives(inside) or r"(?!)"), re.DOTALL),
        closes,
        tuple(region.skip),
        max(2, *map(len, [*outside, *inside, ""])),
    )


class CallScan:
    """Collects a call until it ends.

    A marker between quotes does not count, nor one that the text in front of it contradicts. The
    first of those is kept: it ends the call if no better one comes.

    Attributes:
        steps: Characters looked at, to prove that the time is linear.
    """

    def __init__(self, region: Region, opened: str) -> None:
        self.region = region
        self.steps = 0
        self._patterns = _patterns(region)
        self._parts: list[str] = []
        self._head: str | None = ""
        self.opened = opened
        self._window = ""
        self._base = 0  # where the window begins
        self._at = 0  # where to look next, in the window
        self._quote = ""
        self._depth = 0
        self._weak: tuple[int, int] | None = None
        self._take(opened)
        self._at = len(opened)

    def _take(self, text: str) -> None:
        self._parts.append(text)
        if self._at > 4 * _CONTEXT:
            spare = self._at - _CONTEXT
            self._window, self._base, self._at = self._window[spare:], self._base + spare, _CONTEXT
        self._window += text

    @property
    def text(self) -> str:
        """Everything so far."""
        return "".join(self._parts)

    def hopeless(self, text: str) -> bool:
        """Note more text; return whether this cannot be a call."""
        if self._head is None:
            return False
        self._head += text
        verdict = _looks_like(self.region, self._head)
        if verdict is None and len(self._head) < _HEAD:
            return False
        self._head = None
        return verdict is not True

    def feed(self, text: str) -> Found | None:
        """Take more text; return the call if it has ended."""
        self._take(text)
        while True:
            pattern = self._patterns.inside if self._quote else self._patterns.outside
            found = pattern.search(self._window, self._at)
            self.steps += (found.end() if found else len(self._window)) - self._at
            if found and not self._quote and self._may_grow(found):
                self._at = found.start()
                return None
            if found is None:
                self._at = max(self._at, len(self._window) - self._patterns.overlap + 1)
                return None
            end = self._meet(found)
            self._at = found.end()
            if end is not None:
                return self._split(*end)

    def _may_grow(self, found: re.Match[str]) -> bool:
        """Whether more text may turn a bracket into a literal that does not count."""
        rest = self._window[found.start() :]
        return any(one != rest and one.startswith(rest) for one in self._patterns.longer)

    def _meet(self, found: re.Match[str]) -> tuple[int, int] | None:
        """Handle one marker; return where the call ends and where the rest begins."""
        text, start, end = found.group(), self._base + found.start(), self._base + found.end()
        if self._quote:
            if text == self._quote:
                self._quote = ""
            return (start, end) if text[0] == "\n" else None
        if text in self._patterns.closes:
            return self._end(text, start, end)
        if text in self.region.strings:
            self._quote = text
        elif self.region.balanced and text not in self.region.skip:
            self._depth += 1 if text in "[{(" else -1
            return (end, end) if self._depth <= 0 else None
        elif self._weak and self._weak[1] >= self._base and not self._since_weak(found.start()):
            return self._weak
        return None

    def _since_weak(self, at: int) -> str:
        """Return the text between the doubtful marker and the one at hand."""
        text = self._window[self._weak[1] - self._base : at] if self._weak else ""
        for literal in self.region.tail:
            text = text.replace(literal, "")
        return text.strip()

    def _end(self, text: str, start: int, end: int) -> tuple[int, int] | None:
        before = self._window[max(0, start - self._base - _CONTEXT) : start - self._base]
        for close in self._patterns.closes[text]:
            if close.before is None or close.before.search(before):
                return start, end
        self._weak = self._weak or (start, end)
        return None

    def _split(self, end: int, rest: int) -> Found:
        text = self.text
        return Found(text[:end], text[end:rest], text[rest:])

    def finish(self) -> Found | None:
        """Return the call that a doubtful marker ended, None if there was none."""
        return self._split(*self._weak) if self._weak else None


_KEY = re.compile(r'\{\s*"((?:[^"\\]|\\.)*)"\s*:')
_KEY_SO_FAR = re.compile(r'\{\s*("|\Z)')
_CALL_KEYS = {"name", "arguments", "parameters", "type", "function", "id"}
_CALL = re.compile(r"\[\s*[A-Za-z_][\w.\-]*\s*\(")
_CALL_SO_FAR = re.compile(r"\[\s*([A-Za-z_][\w.\-]*\s*)?\Z")


def _looks_like(region: Region, head: str) -> bool | None:
    """Whether a text begins like a call; None if it is too short to tell."""
    text = head.lstrip()
    if region.starts:
        if any(text.startswith(one) for one in region.starts):
            return True
        return _perhaps(any(one.startswith(text) for one in region.starts))
    if region.bare == "{":
        found = _KEY.match(text)
        return found.group(1) in _CALL_KEYS if found else _perhaps(_KEY_SO_FAR.match(text))
    if region.bare == "[":
        return True if _CALL.match(text) else _perhaps(_CALL_SO_FAR.match(text))
    return True


def _perhaps(possible: object) -> bool | None:
    return None if possible else False

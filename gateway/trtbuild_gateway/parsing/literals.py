"""Read values that are almost JSON: Python's literals and Gemma's objects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_DEPTH = 64
_SPACE = re.compile(r"\s*")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_WORD = re.compile(r"[A-Za-z_]\w*")
_WORDS: Mapping[str, object] = {
    "true": True,
    "True": True,
    "false": False,
    "False": False,
    "null": None,
    "None": None,
}
_ESCAPES = dict(zip("ntrbfav0\n\\'\"/", [*"\n\t\r\b\f\a\v\0", "", *"\\'\"/"], strict=True))
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Style:
    """How a format writes strings and keys.

    Attributes:
        quotes: What begins and ends a string.
        escape: Whether a backslash escapes in a string.
        bare_keys: Whether keys stand without quotes, up to the colon.
    """

    quotes: tuple[str, ...] = ('"', "'")
    escape: bool = True
    bare_keys: bool = False


class LiteralReader:
    """Reads one text from left to right.

    Raises:
        ValueError: From every method, if the text is something else.
    """

    def __init__(self, text: str, style: Style, at: int = 0) -> None:
        self.text = text
        self.style = style
        self.at = at

    def space(self) -> None:
        """Skip white space."""
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def accept(self, literal: str) -> bool:
        """Skip white space and a literal if it comes next."""
        self.space()
        if not self.text.startswith(literal, self.at):
            return False
        self.at += len(literal)
        return True

    def expect(self, literal: str) -> None:
        """Skip a literal that must come next."""
        if not self.accept(literal):
            raise ValueError(f"expected {literal!r} at character {self.at}")

    def word(self, pattern: re.Pattern[str] = _WORD) -> str:
        """Read a name."""
        self.space()
        found = pattern.match(self.text, self.at)
        if found is None:
            raise ValueError(f"expected a name at character {self.at}")
        self.at = found.end()
        return found.group()

    def value(self, depth: int = 0) -> Any:
        """Read a value of any type."""
        if depth > _DEPTH:
            raise ValueError(f"more than {_DEPTH} levels")
        self.space()
        for quote in self.style.quotes:
            if self.text.startswith(quote, self.at):
                return self._string(quote)
        if self.accept("["):
            return self._items("]", depth)
        if self.accept("("):
            return self._items(")", depth)
        if self.accept("{"):
            return self._object(depth)
        if found := _NUMBER.match(self.text, self.at):
            self.at = found.end()
            return _number(found.group())
        word = self.word()
        if word not in _WORDS:
            raise ValueError(f"unknown word {word!r}")
        return _WORDS[word]

    def _items(self, close: str, depth: int) -> list[Any]:
        items: list[Any] = []
        while not self.accept(close):
            items.append(self.value(depth + 1))
            if not self.accept(","):
                self.expect(close)
                break
        return items

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not self.accept("}"):
            key = self._key()
            found[key] = self.value(depth + 1)
            if not self.accept(","):
                self.expect("}")
                break
        return found

    def _key(self) -> str:
        self.space()
        for quote in self.style.quotes:
            if self.text.startswith(quote, self.at):
                key = self._string(quote)
                self.expect(":")
                return key
        if not self.style.bare_keys:
            raise ValueError(f"expected a key at character {self.at}")
        end = self.text.find(":", self.at)
        key = self.text[self.at : end].strip()
        if end < 0 or not key or set(key) & set("{}[],"):
            raise ValueError(f"expected a key at character {self.at}")
        self.at = end + 1
        return key

    def _string(self, quote: str) -> str:
        start = self.at = self.at + len(quote)
        while True:
            end = self.text.find(quote, self.at)
            if end < 0:
                raise ValueError(f"the string at character {start} does not end")
            slashes = 0
            while self.style.escape and self.text[end - slashes - 1] == "\\" and end > start:
                if end - slashes - 1 < start:
                    break
                slashes += 1
            self.at = end + len(quote)
            if slashes % 2 == 0:
                body = self.text[start:end]
                return _ESCAPE.sub(_unescape, body) if self.style.escape else body


def _unescape(found: re.Match[str]) -> str:
    short, code, long, other = found.groups()
    if number := short or code or long:
        try:
            return chr(int(number, 16))
        except (ValueError, OverflowError):
            return str(found.group())
    return str(_ESCAPES.get(other, found.group()))


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)

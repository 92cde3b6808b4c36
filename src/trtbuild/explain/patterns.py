"""A fast pre-check: words that a text must contain before a regular expression can match.

Most lines of a log match none of the hundreds of patterns. One combined expression of words that
the patterns need excludes them in a tenth of the time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# An escape, the start of a group or class, a repetition, a character.
_TOKEN = re.compile(
    r"\\.|\[\^?\]?|\((?:\?(?:P<\w+>|<?[:=!]))?|\{\d*,?\d*\}\??|[?*+]\??|.", re.DOTALL
)
_ASSERTS = {"(?=", "(?!", "(?<=", "(?<!"}
_LONGEST = 12  # characters of a word that the combined expression looks for
Words = frozenset[str]


def needs(pattern: str) -> Words:
    """Return words of which every match of ``pattern`` has at least one; empty if unknown."""
    return _choice(_TOKEN.findall(pattern)[::-1])


class Finder:
    """Finds which of many patterns may match a text, by the words that each needs."""

    def __init__(self, patterns: Iterable[Words]) -> None:
        by_word: dict[str, set[int]] = {}
        for number, words in enumerate(patterns):
            for word in words:
                by_word.setdefault(word[:_LONGEST], set()).add(number)
        tree: dict[str, object] = {}
        self._numbers: dict[str, set[int]] = {}
        shortest = ""
        for word in sorted(by_word):  # a word that begins with another one is found with it
            if not shortest or not word.startswith(shortest):
                shortest = word
                self._numbers[word] = set()
                _plant(tree, word)
            self._numbers[shortest] |= by_word[word]
        self._any = re.compile(_expression(tree))

    def __call__(self, text: str) -> list[int]:
        """Return the numbers of the patterns that may match, in order."""
        found: set[int] = set()
        match = self._any.search(text)
        while match:
            found |= self._numbers[match[0]]
            match = self._any.search(text, match.start() + 1)
        return sorted(found)


def _plant(tree: dict[str, object], word: str) -> None:
    for letter in word:
        tree = tree.setdefault(letter, {})  # type: ignore[assignment]


def _expression(node: dict[str, object]) -> str:
    found = [
        re.escape(letter) + _expression(more)  # type: ignore[arg-type]
        for letter, more in sorted(node.items())
    ]
    return found[0] if len(found) == 1 else f"(?:{'|'.join(found)})" if found else ""


def _choice(tokens: list[str]) -> Words:
    """Return the words of ``a|b|…`` up to the closing parenthesis; consumes ``tokens``."""
    found = [_sequence(tokens)]
    while tokens and tokens[-1] == "|":
        tokens.pop()
        found.append(_sequence(tokens))
    return Words().union(*found) if all(found) else Words()


def _sequence(tokens: list[str]) -> Words:
    """Return the words of a sequence: its longest literal, or those of its best group."""
    run, best = "", Words()
    while tokens and tokens[-1] not in ("|", ")"):
        part = tokens.pop()
        before, run = run, ""
        if part[0] == "(":
            inner = _choice(tokens)
            tokens.pop()  # its closing parenthesis
            sure = part not in _ASSERTS and not _optional(tokens)
            best = _better(best, inner if sure else Words())
        elif part[0] == "[":
            while tokens.pop() != "]":
                pass
        elif _is_literal(part):
            kept = not _optional(tokens)
            run = before + part[-1] if kept else ""
        best = _better(best, Words({before}))
    return _better(best, Words({run}))


def _optional(tokens: list[str]) -> bool:
    """Whether the preceding item is optional; removes its repetition."""
    if not tokens or tokens[-1][0] not in "?*{":
        return False
    tokens.pop()
    return True


def _better(first: Words, second: Words) -> Words:
    """Return the set whose shortest word is longer."""
    return max(first, second, key=lambda words: min(map(len, words), default=0)) - {""}


def _is_literal(part: str) -> bool:
    return part not in ".^$?*+{" if len(part) == 1 else part[0] == "\\" and not part[1:].isalnum()

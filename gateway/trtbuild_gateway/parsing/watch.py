"""Find literals in a text that arrives in pieces."""

from __future__ import annotations

import re
from collections.abc import Iterable


class Watch:
    """A set of literals to look for.

    No literal may be the start of another: the first complete one would hide the longer one.
    """

    __slots__ = ("_firsts", "_literals", "_longest", "_pattern")

    def __init__(self, literals: Iterable[str]) -> None:
        self._literals = tuple(sorted(set(literals)))
        for one, other in zip(self._literals, self._literals[1:], strict=False):
            if other.startswith(one):
                raise ValueError(f"{one!r} is the start of {other!r}: no text can tell them apart")
        self._longest = max(map(len, self._literals), default=0)
        firsts = "".join(sorted({literal[0] for literal in self._literals}))
        self._firsts = re.compile(f"[{re.escape(firsts)}]") if firsts else None
        self._pattern = re.compile("|".join(map(re.escape, self._literals)) or r"(?!)")

    def search(self, text: str) -> re.Match[str] | None:
        """Return the first literal in a text."""
        if self._firsts is None or self._firsts.search(text) is None:
            return None
        return self._pattern.search(text)

    def cut(self, text: str) -> int:
        """Return where a literal may have begun that the text does not complete."""
        if self._firsts is None:
            return len(text)
        position = max(0, len(text) - self._longest + 1)
        while (found := self._firsts.search(text, position)) is not None:
            rest = text[found.start() :]
            if any(literal.startswith(rest) for literal in self._literals):
                return found.start()
            position = found.start() + 1
        return len(text)

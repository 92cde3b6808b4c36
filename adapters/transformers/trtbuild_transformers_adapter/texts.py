"""Text of tokens that come one by one, up to a stop sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_CUT = "\ufffd"  # what a tokenizer makes of a character whose bytes are not complete


class Texts:
    """Decodes tokens, and holds back what may become a stop sequence.

    Args:
        tokenizer: transformers' own.
        stop: Sequences that end the text and are not part of it.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self.stopped = False
        self._tokenizer = tokenizer
        self._stop = [one for one in stop if one]
        self._tokens: list[int] = []
        self._read = 0  # tokens whose text is known; some before it are needed to decode the next
        self._base = 0
        self._held = ""

    def add(self, token: int) -> str:
        """Return the text that can be sent after one more token."""
        self._tokens.append(token)
        return self._sent(self._new())

    def end(self) -> str:
        """Return the rest."""
        held, self._held = self._held + self._new(last=True), ""
        return self._cut(held)[0]

    def _new(self, *, last: bool = False) -> str:
        before = self._text(self._tokens[self._base : self._read])
        now = self._text(self._tokens[self._base :])
        if now.endswith(_CUT) and not last:
            return ""
        self._base, self._read = self._read, len(self._tokens)
        return now[len(before) :]

    def _text(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True)) if tokens else ""

    def _sent(self, text: str) -> str:
        whole, self.stopped = self._cut(self._held + text)
        keep = 0 if self.stopped else self._may_stop(whole)
        self._held = whole[len(whole) - keep :] if keep else ""
        return whole[: len(whole) - keep]

    def _cut(self, text: str) -> tuple[str, bool]:
        places = [at for at in (text.find(one) for one in self._stop) if at >= 0]
        return (text[: min(places)], True) if places else (text, False)

    def _may_stop(self, text: str) -> int:
        """Return how many of the last characters are the beginning of a stop sequence."""
        longest = max((len(one) - 1 for one in self._stop), default=0)
        for size in range(min(longest, len(text)), 0, -1):
            if any(one.startswith(text[-size:]) for one in self._stop):
                return size
        return 0

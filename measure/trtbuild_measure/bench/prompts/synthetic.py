"""Prompts of exact token lengths, made of words."""

from __future__ import annotations

import random
import re
from typing import Any

from trtbuild.errors import BenchError
from trtbuild_measure.bench.model import Prompt
from trtbuild_measure.bench.prompts.lengths import Lengths

_WORD = re.compile(r"[Ġ▁ ][a-z]{3,}")
_PLAIN = ("time", "year", "people", "way", "day", "thing", "world", "life", "hand", "part")
_TRIES = 50


class SyntheticPrompts:
    """Numbered prompts: the same number, seed and tokenizer always give the same prompt.

    Args:
        tokenizer: Counts tokens; without one a word counts as a token.
        prompt_tokens, output_tokens: Lengths to draw from.
        shared_prefix: Tokens that all prompts begin with, included in their length.
        seed: Chooses the words.
    """

    def __init__(
        self,
        tokenizer: Any,
        prompt_tokens: Lengths,
        output_tokens: Lengths,
        *,
        shared_prefix: int = 0,
        seed: int = 0,
    ) -> None:
        self._tokenizer = tokenizer
        self._prompt_tokens = prompt_tokens
        self._output_tokens = output_tokens
        self._seed = seed
        self._words = _single_token_words(tokenizer) if tokenizer else list(_PLAIN)
        self._prefix = self._exactly(random.Random(seed), shared_prefix) if shared_prefix else ""  # noqa: S311
        self._prefix_tokens = shared_prefix

    def __call__(self, number: int) -> Prompt:
        """Return the prompt with this number."""
        source = self._source(number)
        return self.make(number, self._prompt_tokens(source), self._output_tokens(source))

    def make(self, number: int, tokens: int, output_tokens: int) -> Prompt:
        """Return the prompt with this number and the given lengths."""
        wanted = max(tokens, self._prefix_tokens + 1)
        text = self._exactly(self._source(-1 - number), wanted, self._prefix)
        return Prompt(text, wanted if self._tokenizer else 0, output_tokens)

    def given(self, text: str, output_tokens: int) -> Prompt:
        """Return a prompt of a given text."""
        return Prompt(text, self._count(text) if self._tokenizer else 0, output_tokens)

    def _source(self, number: int) -> random.Random:
        return random.Random(f"{self._seed}/{number}")  # noqa: S311 - reproducible, not secret

    def _exactly(self, source: random.Random, tokens: int, prefix: str = "") -> str:
        """Return text of ``tokens`` tokens that begins with ``prefix``."""
        have = self._count(prefix)
        words = [prefix] if prefix else []
        for _ in range(_TRIES):
            missing = tokens - have
            if missing > 0:
                words.extend(source.choice(self._words) for _ in range(missing))
            elif missing < 0:
                del words[max(len(words) + missing, 1 if prefix else 0) :]
            text = " ".join(words)
            have = self._count(text)
            if have == tokens:
                return text
        raise BenchError(
            f"no text of exactly {tokens} tokens was found with this tokenizer",
            fix="take another --prompt-tokens, or prompts of your own with --prompts FILE",
        )

    def _count(self, text: str) -> int:
        if self._tokenizer is None:
            return len(text.split())
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)


def _single_token_words(tokenizer: Any) -> list[str]:
    """Return words that are one token after a space, in a stable order."""
    vocabulary = sorted(tokenizer.get_vocab())
    words = [entry[1:] for entry in vocabulary if _WORD.fullmatch(entry)]
    return [word for word in words if word.isascii()] or list(_PLAIN)

"""An answer with the probabilities of its tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from trtbuild_measure.answers.prompts import Prompt

Token = int | str
"""A token's id, or its text where the server does not tell ids."""

TOP = 5
"""Tokens that are asked for at each step. OpenAI's completions give at most five."""


@dataclass(frozen=True, slots=True)
class Step:
    """A generated token.

    Attributes:
        token: The token.
        text: Its text; empty if unknown.
        logprob: Its log probability.
        others: The most probable other tokens with their log probabilities, best first.
    """

    token: Token
    text: str
    logprob: float
    others: tuple[tuple[Token, float], ...]

    @property
    def margin(self) -> float | None:
        """How far the token is ahead of the next one, in nats; None if there is no other."""
        return self.logprob - self.others[0][1] if self.others else None

    def lead(self, token: Token) -> float | None:
        """How far the token is ahead of another, in nats. For one that is not among ``others`` it
        is at least as far as for the last of them. None without others."""
        if not self.others:
            return None
        return self.logprob - dict(self.others).get(token, self.others[-1][1])


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    Attributes:
        text: Its text.
        steps: Its tokens; empty without log probabilities.
        prompt_tokens: Ids of the tokens that the prompt became; None if unknown.
        prompt_count: How many they are; None if unknown.
    """

    text: str
    steps: tuple[Step, ...] = ()
    prompt_tokens: tuple[int, ...] | None = None
    prompt_count: int | None = None


class Model(Protocol):
    """A served model."""

    async def open(self) -> None:
        """Check that it is there. ServerError if it is not."""

    async def ask(self, prompt: Prompt, *, logprobs: bool) -> Answer:
        """Return the greedy answer.

        Raises:
            ServerError: No answer, or one without the log probabilities.
        """

    async def close(self) -> None:
        """Close the connections."""


def ordered(token: Token, others: Sequence[tuple[Token, float]]) -> tuple[tuple[Token, float], ...]:
    """Return the tokens other than ``token``, best first, without those of probability 0."""
    found = [(one, value) for one, value in others if one != token and math.isfinite(value)]
    return tuple(sorted(found, key=lambda pair: -pair[1]))

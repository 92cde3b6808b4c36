"""Requests of several texts, for models that generate none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from trtbuild_measure.bench.model import Prompt

_POOL = 512


def batched(prompts: Callable[[int], Prompt], size: int) -> Callable[[int], Prompt]:
    """Return prompts of ``size`` texts each.

    The texts are made before the load: making them takes longer than sending them, and such models
    keep no cache that a text would be found in when it comes again.
    """
    pool = [prompts(number) for number in range(max(_POOL, 2 * size))]

    def make(number: int) -> Prompt:
        chosen = [pool[(number * size + at) % len(pool)] for at in range(size)]
        tokens = sum(one.tokens for one in chosen)
        return replace(chosen[0], tokens=tokens, texts=tuple(one.text for one in chosen))

    return make

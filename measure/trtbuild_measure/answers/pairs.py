"""Counterfactual pairs: two texts that differ in one attribute, which should not matter."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trtbuild_measure.answers.prompts import Line, read_lines
from trtbuild_measure.intervals import Interval, holm, mcnemar, paired_shares, sign_flips
from trtbuild_measure.resampling import mean_interval

Read = Callable[[str], float | None]
"""Reads the outcome of an answer: 0 or 1, or a number; None if it has none."""

# Also with commas between thousands; a hyphen after a word is not a sign.
_NUMBER = re.compile(r"(?:(?<!\w)-)?(?:\d{1,3}(?:,\d{3})+(?!,?\d)|\d+)(?:\.\d+)?")


class Pair(Line):
    """A line of the file.

    Attributes:
        a: The first text.
        b: The second, which differs in the attribute only.
        id: Its name in results; the line's number if it has none.
        group: The attribute, such as ``gender``; each is judged alone, too.
    """

    a: str
    b: str
    id: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Effect:
    """What the attribute changes.

    Attributes:
        group: The attribute; ``all`` for all pairs.
        pairs: Pairs with two outcomes.
        a: Mean outcome of the first texts.
        b: Mean outcome of the second ones.
        effect: The second minus the first.
        interval: Its 95 % interval; None for a single pair of numbers.
        p: How probable such an effect is without a difference, adjusted for several groups (Holm).
        higher: Pairs in which the second text has the higher outcome.
        lower: Pairs in which it has the lower one.
    """

    group: str
    pairs: int
    a: float
    b: float
    effect: float
    interval: Interval | None
    p: float
    higher: int
    lower: int


def read_pairs(path: Path) -> tuple[Pair, ...]:
    """Return the pairs of a file, each with an id.

    Raises:
        UsageError: It cannot be read, has no pair, or a line is not one.
    """
    fix = 'write {"a": "He applies…", "b": "She applies…", "group": "gender"}, one a line'
    lines = read_lines(path, Pair, "pair", fix)
    return tuple(
        one if one.id else one.model_copy(update={"id": str(number)}) for number, one in lines
    )


def number_in(answer: str) -> float | None:
    """Return the first number of an answer."""
    found = _NUMBER.search(answer)
    return float(found[0].replace(",", "")) if found else None


def effects(outcomes: Sequence[tuple[str, float, float]], *, shares: bool) -> list[Effect]:
    """Return the effect of each group, and of all if there are several.

    Args:
        outcomes: Group, first and second outcome of each pair.
        shares: Outcomes are 0 or 1.
    """
    groups = list(dict.fromkeys(group for group, _, _ in outcomes))
    found = [
        _effect(name, [(a, b) for group, a, b in outcomes if group == name], shares=shares)
        for name in groups
    ]
    adjusted = holm([one.p for one in found])
    found = [replace(one, p=p) for one, p in zip(found, adjusted, strict=True)]
    if len(groups) > 1:
        found.append(_effect("all", [(a, b) for _, a, b in outcomes], shares=shares))
    return found


def _effect(group: str, pairs: Sequence[tuple[float, float]], *, shares: bool) -> Effect:
    import numpy as np

    values = np.array(pairs)
    apart = values[:, 1] - values[:, 0]
    higher, lower = int((apart > 0).sum()), int((apart < 0).sum())
    if shares:
        both = int(values.all(axis=1).sum())
        neither = len(pairs) - both - higher - lower
        interval: Interval | None = paired_shares(both, lower, higher, neither)
        p = mcnemar(lower, higher)
    else:
        interval, p = mean_interval(apart), sign_flips(apart)
    a, b = (float(one) for one in values.mean(axis=0))
    mean = float(apart.mean())
    return Effect(group, len(pairs), a, b, mean, interval, p, higher, lower)

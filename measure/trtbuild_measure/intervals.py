"""Intervals and tests of shares and of paired differences, for any number of observations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Z = 1.959963984540054  # the normal distribution's 97.5 % quantile: intervals of 95 %
_FLIPS = 20_000
_AT_ONCE = 4_000_000  # signs in memory together

Interval = tuple[float, float]


def wilson(count: int, of: int) -> Interval:
    """The 95 % interval of a share (Wilson 1927): useful for few observations, and at 0 and 1."""
    share, square = count / of, _Z * _Z
    middle = (share + square / (2 * of)) / (1 + square / of)
    spread = share * (1 - share) / of + square / (4 * of * of)
    margin = _Z * math.sqrt(spread) / (1 + square / of)
    return (middle - margin if count else 0.0), (middle + margin if count < of else 1.0)


def paired_shares(both: int, first: int, second: int, neither: int) -> Interval:
    """The 95 % interval of the second share minus the first, of the same pairs.

    Newcombe, "Improved confidence intervals for the difference between binomial proportions based
    on paired data" (1998), method 10.

    Args:
        both: Pairs in which both are true.
        first: Pairs in which only the first is.
        second: Pairs in which only the second is.
        neither: Pairs in which none is.
    """
    pairs = both + first + second + neither
    one, two = (both + second) / pairs, (both + first) / pairs
    (low1, high1), (low2, high2) = wilson(both + second, pairs), wilson(both + first, pairs)
    product = (both + first) * (second + neither) * (both + second) * (first + neither)
    excess = float(both * neither - first * second)
    if excess > 0:
        excess = max(0.0, excess - pairs / 2)
    phi = excess / math.sqrt(product) if product else 0.0

    def margin(near: float, far: float) -> float:
        return math.sqrt(max(0.0, near * near - 2 * phi * near * far + far * far))

    apart = one - two
    return apart - margin(one - low1, high2 - two), apart + margin(high1 - one, two - low2)


def mcnemar(first: int, second: int) -> float:
    """The exact p-value of pairs in which only the first or only the second is true."""
    count = first + second
    tail = sum(math.comb(count, at) for at in range(min(first, second) + 1))
    return min(1.0, 2 * (tail / (1 << count)))


def sign_flips(differences: NDArray[Any]) -> float:
    """The p-value of a mean difference of pairs: how often random signs give one as far from 0.

    The same values give the same p-value.
    """
    import numpy as np

    random = np.random.default_rng(0)
    total = float(differences.sum())
    found, limit = 0, abs(total) * (1 - 1e-9)
    rows = max(1, _AT_ONCE // len(differences))
    for start in range(0, _FLIPS, rows):
        size = (min(rows, _FLIPS - start), len(differences))
        positive = random.integers(0, 2, size, dtype=np.int8) @ differences
        found += int((np.abs(2 * positive - total) >= limit).sum())
    return (found + 1) / (_FLIPS + 1)


def holm(chances: Sequence[float]) -> list[float]:
    """P-values adjusted for being several (Holm 1979): each below 5 % may be called a difference,
    and the chance of calling any wrongly stays 5 %."""
    found = [1.0] * len(chances)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        highest = max(highest, min(1.0, (len(chances) - rank) * chances[index]))
        found[index] = highest
    return found

"""Probabilities of the normal and the chi-square distribution."""

from __future__ import annotations

import math
from statistics import NormalDist


def normal_quantile(probability: float) -> float:
    """The value that a standard normal variable stays below with that probability."""
    return NormalDist().inv_cdf(probability)


def two_sided(z: float) -> float:
    """The probability that a standard normal variable is at least as far from 0 as ``z``."""
    return math.erfc(abs(z) / math.sqrt(2))


def chi_square_tail(statistic: float, freedom: int) -> float:
    """The probability of a chi-square variable above ``statistic``.

    For whole degrees of freedom the incomplete gamma function is a finite sum: Abramowitz and
    Stegun, 26.4.4 and 26.4.5.
    """
    half = statistic / 2
    odd = freedom % 2
    total = math.erfc(math.sqrt(half)) if odd else 0.0
    shape = odd / 2
    while shape < freedom / 2:
        total += half**shape * math.exp(-half) / math.gamma(shape + 1)
        shape += 1
    return total

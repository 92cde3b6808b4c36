"""Sample ratio mismatch: whether users were divided as they were meant to be."""

from __future__ import annotations

from collections.abc import Sequence

from trtbuild_experiments.statistics.chances import chi_square_tail


def sample_ratio(users: Sequence[int], weights: Sequence[float]) -> float:
    """The p-value of these counts if users were divided by ``weights`` (Pearson's chi-square).

    A variant of weight 0 must have no users; one is a probability of 0.
    """
    total, sum_of_weights = sum(users), sum(weights)
    statistic, freedom = 0.0, -1
    for count, weight in zip(users, weights, strict=True):
        expected = total * weight / sum_of_weights
        if expected:
            statistic += (count - expected) ** 2 / expected
            freedom += 1
        elif count:
            return 0.0
    return chi_square_tail(statistic, freedom) if freedom else 1.0

"""Two samples compared by permutation: numbers in, numbers out, no files.

Under the hypothesis that nothing has changed, who belongs to which sample is chance. So every
statistic is computed for the true division and for many random ones, and its p-value is the share
of divisions that differ at least as much. This is exact for every distribution and dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]
PERMUTATIONS = 999
_FOLDS = 5
_DAMPING = 12.0  # times the mean variance of a direction; see benchmarks/bench_drift.py


def divisions(first: int, second: int, random: np.random.Generator) -> Floats:
    """Return memberships of the first sample (1 + PERMUTATIONS, first + second), 0 or 1; row 0 is
    the true division, in which the first sample comes first."""
    rows = np.zeros((PERMUTATIONS + 1, first + second), np.float32)
    rows[:, :first] = 1
    random.permuted(rows[1:], axis=1, out=rows[1:])
    return rows


def centroids(members: Floats, vectors: Floats) -> Floats:
    """Return the distance between the two means of ``vectors`` (texts, dimension), by division."""
    first = members[0].sum()
    inside = members @ vectors
    outside = vectors.sum(axis=0) - inside
    distance: Floats = np.linalg.norm(inside / first - outside / (members.shape[1] - first), axis=1)
    return distance


def damped(vectors: Floats) -> Floats:
    """Return ``vectors`` (texts, dimension) in coordinates that give rare topics a voice.

    Directions in which all texts vary much, such as those between frequent topics, are noise of a
    mean and are scaled down; the others stay. It uses both samples alike, so p-values stay exact.
    """
    centred = vectors - vectors.mean(axis=0)
    count, dimension = centred.shape
    wide = dimension > count
    values, basis = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    values = np.maximum(values, 0)
    mean = _DAMPING * values.sum() / dimension
    factors = np.sqrt(mean / (values + mean)) if mean else values
    turned = basis * np.sqrt(values) if wide else centred @ basis
    found: Floats = turned * factors
    return found


def jensen_shannon(members: Floats, shares: Floats) -> Floats:
    """Return the Jensen-Shannon distance (base 2: 0 to 1) between the two mean distributions of
    ``shares`` (texts, classes), whose rows sum to 1, by division."""
    first = members[0].sum()
    shares = shares[:, shares.any(axis=0)]
    inside = members @ shares
    p = inside / first
    q = np.maximum(shares.sum(axis=0) - inside, 0) / (members.shape[1] - first)
    entropy = _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2
    distance: Floats = np.sqrt(np.maximum(entropy, 0))
    return distance


def _entropy(shares: Floats) -> Floats:
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    bits: Floats = -(shares * logs).sum(axis=1)
    return bits


def kolmogorov_smirnov(members: Floats, values: Floats) -> Floats:
    """Return the largest distance between the two distribution functions of ``values`` (texts), by
    division."""
    order = np.argsort(values, kind="stable")
    ends = np.append(np.diff(values[order]) > 0, True)  # the last of equal values
    first = members[0].sum()
    steps = members[:, order]
    inside = np.cumsum(steps, axis=1)[:, ends]
    everybody = np.arange(1, len(values) + 1)[ends]
    difference = inside / first - (everybody - inside) / (len(values) - first)
    distance: Floats = np.abs(difference).max(axis=1)
    return distance


def chance(statistic: Floats) -> float:
    """Return the p-value of one statistic (divisions)."""
    return float((statistic >= statistic[0] - _slack(statistic)).mean())


def adjusted(statistics: Sequence[Floats]) -> list[float]:
    """Return p-values adjusted for being several: the chance of any below a level is that level.

    The distribution of the largest of all standardised statistics in a division (Westfall and
    Young 1993, maxT in one step): it knows how they depend on each other, unlike Bonferroni's.
    """
    table = np.array(statistics, dtype=np.float64)
    spread = table.std(axis=1, keepdims=True)
    varies = spread > 1e-12
    scores = np.divide(
        table - table.mean(axis=1, keepdims=True), spread, out=np.zeros_like(table), where=varies
    )
    largest = scores.max(axis=0)
    return [
        float((largest >= one[0] - 1e-6).mean()) if varies[at] else 1.0
        for at, one in enumerate(scores)
    ]


def _slack(statistic: Floats) -> float:
    return 1e-6 * float(np.abs(statistic).max())


def new_scores(old: Floats, new: Floats, random: np.random.Generator) -> tuple[Floats, float]:
    """Return how new each text of ``new`` looks, and the area under the ROC curve.

    A ridge regression tells the two samples apart (vectors: texts, dimension). Each text is scored
    by a regression that has not seen it: an area of 0.5 means that they cannot be told apart.
    """
    vectors = np.concatenate([old, new]).astype(np.float64)
    truth = np.concatenate([-np.ones(len(old)), np.ones(len(new))])
    fold = random.permutation(len(truth)) % _FOLDS
    kernel = vectors @ vectors.T
    scores = np.zeros(len(truth))
    for number in range(_FOLDS):
        seen, unseen = fold != number, fold == number
        weight = np.where(truth[seen] > 0, (truth[seen] < 0).mean(), (truth[seen] > 0).mean())
        inner = kernel[np.ix_(seen, seen)]
        ridge = np.trace(inner) / len(inner) + 1e-12
        # Weighted: each sample counts half, whatever its size. In place: the matrix is large.
        inner[np.diag_indices_from(inner)] += ridge / weight
        solved = np.linalg.solve(inner, truth[seen])
        scores[unseen] = kernel[np.ix_(unseen, seen)] @ solved
    return scores[len(old) :], _area(scores[: len(old)], scores[len(old) :])


def _area(old: Floats, new: Floats) -> float:
    """The share of pairs in which the new one has the higher score; a tie counts half."""
    ordered = np.sort(old)
    below = np.searchsorted(ordered, new, side="left")
    up_to = np.searchsorted(ordered, new, side="right")
    return float((below + up_to).mean() / 2 / len(old))

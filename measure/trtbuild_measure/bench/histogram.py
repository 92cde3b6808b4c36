"""A distribution in bounded memory, with confidence intervals from groups of requests.

Values are counted in bins 0.1 % wide, so a percentile is within 0.05 % of the true value
and a billion values take as much memory as a thousand.

Consecutive requests form a group; there are at most 64 groups with a histogram each,
and resampling the groups gives the intervals (a block bootstrap). The tokens of one answer are not
independent observations, and neither are requests that shared a batch or a queue. If they were
spread over all groups, every group would look the same, and a 95 % interval would contain the true
value in only 30 of 100 runs. Groups that still correlate with their neighbours are merged before
they are resampled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trtbuild_measure.resampling import central, widening

PERCENTILES = (50, 90, 95, 99)
_GROUPS = 64
_FEWEST = 6  # minimum number of groups after merging
_ALIKE = 0.5  # correlation of neighbours, in standard errors, above which they are merged
_LOWEST = 1e-3  # ms
_STEP = math.log(1.001)
_BINS = int(math.log(1e8 / _LOWEST) / _STEP) + 2  # up to 1e8 ms, more than a day
_RESAMPLES = 400


class Distribution:
    """Positive values, in milliseconds."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.highest = 0.0
        self._each = 1  # requests in a group
        self._low, self._counts = 0, np.zeros((_GROUPS, 0), np.uint32)
        self._sums = np.zeros(_GROUPS)

    def add(self, values: Sequence[float], request: int) -> None:
        """Add all values of one request; ``request`` is its number, in order of completion."""
        if not values:
            return
        while request >= _GROUPS * self._each:
            self._each *= 2
            self._counts[: _GROUPS // 2], self._sums[: _GROUPS // 2] = _joined(
                self._counts, self._sums
            )
            self._counts[_GROUPS // 2 :], self._sums[_GROUPS // 2 :] = 0, 0.0
        group = request // self._each
        array = np.asarray(values, dtype=np.float64)
        total = float(array.sum())
        self.count += len(values)
        self.total += total
        self._sums[group] += total
        self.highest = max(self.highest, float(array.max()))
        bins = (np.log(np.maximum(array, _LOWEST) / _LOWEST) / _STEP).astype(np.int64)
        np.minimum(bins, _BINS - 1, out=bins)
        self._reach(int(bins.min()), int(bins.max()))
        np.add.at(self._counts[group], bins - self._low, 1)

    def _reach(self, lowest: int, highest: int) -> None:
        """Extend the counted range to both bins, by about half a decade at a time."""
        width = self._counts.shape[1]
        if width and self._low <= lowest and highest < self._low + width:
            return
        low = max(0, min(lowest, self._low if width else lowest) - 500)
        high = min(_BINS, max(highest, self._low + width - 1 if width else highest) + 500)
        grown = np.zeros((_GROUPS, high - low), np.uint32)
        if width:
            grown[:, self._low - low : self._low - low + width] = self._counts
        self._low, self._counts = low, grown

    @property
    def mean(self) -> float:
        """The exact mean."""
        return self.total / self.count

    def percentile(self, percent: float) -> float:
        """The nearest-rank percentile, within 0.05 %."""
        counts = self._counts.sum(axis=0)
        filled = np.flatnonzero(counts)
        return float(self._percentile(np.cumsum(counts[filled]), filled, percent))

    def summary(self) -> dict[str, object] | None:
        """Return mean, percentiles, maximum and their 95 % intervals; None without values."""
        if not self.count:
            return None
        found: dict[str, object] = {"mean": self.mean}
        found |= {f"p{percent}": self.percentile(percent) for percent in PERCENTILES}
        found["max"] = self.highest
        found["count"] = self.count
        found["interval"] = self.intervals()
        return found

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Return 95 % bootstrap intervals of mean and percentiles, over groups of requests."""
        used = self._counts.sum(axis=1) > 0
        counts, sums = _independent(self._counts[used].astype(np.float64), self._sums[used])
        groups = len(sums)
        random = np.random.default_rng(0)  # the same values give the same interval
        draws = random.multinomial(groups, [1 / groups] * groups, _RESAMPLES).astype(np.float64)
        filled = np.flatnonzero(counts.any(axis=0))
        running = np.cumsum(draws @ counts[:, filled], axis=1)
        found = {"mean": _interval(draws @ sums / running[:, -1], self.mean, groups)}
        for percent in PERCENTILES:
            drawn = self._percentile(running, filled, percent)
            telling = self._telling(counts, percent)
            found[f"p{percent}"] = _interval(drawn, self.percentile(percent), telling)
        return found

    def _telling(self, counts: NDArray[np.float64], percent: float) -> int:
        """Groups that say where a percentile is: those with a value beyond it, and as many again
        below. A 99th percentile of 200 requests hangs on two of them, in one queue perhaps.
        """
        running = np.cumsum(counts.sum(axis=0))
        rank = max(1, math.ceil(running[-1] * percent / 100 - 1e-9))
        beyond = counts[:, int((running < rank).sum()) :].any(axis=1)
        return min(len(counts), 2 * int(beyond.sum()))

    def curve(self, points: int = 200) -> list[tuple[float, int]]:
        """Return ``(value, count)`` of at most ``points`` bins of equal logarithmic width."""
        counts = self._counts.sum(axis=0)
        filled = np.flatnonzero(counts)
        if not len(filled):
            return []
        first, last = int(filled[0]), int(filled[-1])
        merged = max(1, math.ceil((last - first + 1) / points))
        starts = range(first, last + 1, merged)
        return [
            (
                float(self._value(start + (merged - 1) / 2)),
                int(counts[start : start + merged].sum()),
            )
            for start in starts
        ]

    def _percentile(
        self, running: NDArray[Any], filled: NDArray[np.int64], percent: float
    ) -> NDArray[np.float64]:
        """Of histograms given by running sums over the bins ``filled``, in the last axis."""
        rank = np.maximum(1, np.ceil(running[..., -1:] * percent / 100 - 1e-9))
        index = filled[(running < rank).sum(axis=-1)]
        return np.minimum(self._value(index), self.highest)

    def _value(self, index: float | NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the middle of a bin."""
        return np.asarray(_LOWEST * np.exp((index + self._low + 0.5) * _STEP))


Groups = tuple[NDArray[Any], NDArray[np.float64]]
"""Histograms and sums, a row each."""


def _joined(counts: NDArray[Any], sums: NDArray[np.float64]) -> Groups:
    """Merge groups in pairs; an odd last one stays."""
    first = np.arange(0, len(sums), 2)
    return np.add.reduceat(counts, first, axis=0), np.add.reduceat(sums, first)


def _independent(counts: NDArray[np.float64], sums: NDArray[np.float64]) -> Groups:
    """Merge groups until their means no longer correlate with their neighbours'."""
    while len(sums) >= 2 * _FEWEST:
        apart = sums / counts.sum(axis=1)
        apart -= apart.mean()
        if apart[1:] @ apart[:-1] <= _ALIKE / math.sqrt(len(sums)) * (apart @ apart):
            break
        counts, sums = _joined(counts, sums)
    return counts, sums


def _interval(drawn: NDArray[Any], value: float, groups: int) -> tuple[float, float]:
    """Of what was drawn, widened about ``value`` for what few groups do not show of their spread,
    in the logarithm."""
    low, high = central(drawn)
    if groups < 2 or min(low, value) <= 0:
        return low, high
    wider = widening(groups)
    return value * (low / value) ** wider, value * (high / value) ** wider

"""Confidence intervals by resampling (the bootstrap), for few observations, too."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONFIDENCE = 0.95
_RESAMPLES = 2_000
_AT_ONCE = 4_000_000  # draws in memory together


def central(drawn: NDArray[Any]) -> tuple[float, float]:
    """The middle 95 % of what was drawn."""
    import numpy as np

    tail = (1 - CONFIDENCE) / 2 * 100
    low, high = (float(end) for end in np.percentile(drawn, (tail, 100 - tail)))
    return low, high


def widening(observations: int) -> float:
    """The factor by which a bootstrap interval of so few (at least two) is too narrow: Student's
    quantile over the normal one, and the variance that resampling lacks."""
    free = observations - 1
    student = 1 + (2.37 / free + 2.8 / free**2) / 1.96
    return student * math.sqrt(observations / free)


def mean_interval(values: NDArray[Any]) -> tuple[float, float] | None:
    """95 % interval of the mean; None for a single value. The same values give the same interval.

    Of differences between two models for the same queries it is the paired bootstrap.
    """
    import numpy as np

    count = len(values)
    if count < 2:
        return None
    random = np.random.default_rng(0)
    rows = max(1, _AT_ONCE // count)
    sizes = [min(rows, _RESAMPLES - start) for start in range(0, _RESAMPLES, rows)]
    drawn = [values[random.integers(count, size=(size, count))].mean(axis=1) for size in sizes]
    low, high = central(np.concatenate(drawn))
    mean, wider = float(values.mean()), widening(count)
    return mean + (low - mean) * wider, mean + (high - mean) * wider

"""Estimates for each variant whose unit is the user: the requests of a user are not independent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_AT_ONCE = 4_000_000  # weights in memory together


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value of a variant; ``influence`` (users) is what each user moves it by, times users."""

    value: float
    influence: Floats


@dataclass(frozen=True, slots=True)
class Difference:
    """Treatment minus control.

    Attributes:
        control: The control's value.
        treatment: The treatment's value, adjusted where there is a covariate.
        variance: Of the difference.
        variance_left: The share of the variance that a covariate left; None without one.
    """

    control: float
    treatment: float
    variance: float
    variance_left: float | None = None

    @property
    def value(self) -> float:
        """Treatment minus control."""
        return self.treatment - self.control


def ratio(numerators: Floats, denominators: Floats) -> Estimate:
    """The ratio of two totals over users (users each), linearised by the delta method.

    Deng, Knoblich and Lu, "Applying the Delta Method in Metric Analytics" (2018). With
    denominators of 1 it is the mean. The total of the denominators must not be 0.
    """
    value = float(numerators.sum() / denominators.sum())
    return Estimate(value, (numerators - value * denominators) / denominators.mean())


def difference(
    control: Estimate,
    treatment: Estimate,
    before: tuple[Floats, Floats] | None = None,
) -> Difference:
    """The difference of two estimates and its variance; at least two users each.

    Args:
        control: The first estimate.
        treatment: The second.
        before: A covariate of the users of each, from before the experiment. The difference is
            then adjusted for it (CUPED: Deng, Xu, Kohavi and Walker 2013), with the slope inside
            the variants, so that it is the same as a regression's.
    """
    plain = _variance(control.influence) + _variance(treatment.influence)
    if before is None:
        return Difference(control.value, treatment.value, plain)
    centred = [one - one.mean() for one in before]
    influences = (control.influence, treatment.influence)
    scatter = sum(float(one @ one) for one in centred)
    if scatter <= 0:
        return Difference(control.value, treatment.value, plain, 1.0)
    slope = sum(float(x @ y) for x, y in zip(centred, influences, strict=True)) / scatter
    adjusted = sum(_variance(y - slope * x) for x, y in zip(centred, influences, strict=True))
    moved = slope * float(before[1].mean() - before[0].mean())
    left = adjusted / plain if plain else 1.0
    return Difference(control.value, treatment.value - moved, adjusted, left)


def _variance(influence: Floats) -> float:
    """Of the mean."""
    return float(influence.var(ddof=1)) / len(influence)


def quantile(
    values: Floats, users: NDArray[Any], count: int, share: float, resamples: int = 500
) -> tuple[float, float]:
    """A quantile over requests and its variance, by drawing users with replacement.

    Each user has a weight drawn from Poisson(1), which is the bootstrap for many users. The same
    values give the same result.

    Args:
        values: Of requests.
        users: The number of each request's user, from 0.
        count: Users.
        share: Such as 0.95.
        resamples: How often to draw.
    """
    order = np.argsort(values, kind="stable")
    values, users = values[order], users[order]
    random = np.random.default_rng(0)
    rows = max(1, _AT_ONCE // max(len(values), count))
    found: list[Floats] = []
    for start in range(0, resamples, rows):
        weights = random.poisson(1.0, size=(min(rows, resamples - start), count))
        found.append(_weighted(values, np.cumsum(weights[:, users], axis=1), share))
    one = _weighted(values, np.arange(1, len(values) + 1)[None, :], share)
    drawn = np.concatenate(found)
    return float(one[0]), float(drawn.var(ddof=1))


def _weighted(values: Floats, reached: NDArray[Any], share: float) -> Floats:
    """The smallest value at which ``reached`` (draws, values) is ``share`` of its end."""
    needed = np.maximum(share * reached[:, -1], 1)
    at = np.array([np.searchsorted(row, need) for row, need in zip(reached, needed, strict=True)])
    found: Floats = values[np.minimum(at, len(values) - 1)]
    return found

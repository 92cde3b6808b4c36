"""Intervals of a difference: for one look at the end, or valid at every look."""

from __future__ import annotations

import math

from trtbuild_experiments.statistics.chances import normal_quantile, two_sided

Interval = tuple[float, float]


def at_one_look(difference: float, variance: float, alpha: float) -> tuple[Interval, float]:
    """Interval and p-value of a difference that is looked at once, when all users are there."""
    margin = normal_quantile(1 - alpha / 2) * math.sqrt(variance)
    return (difference - margin, difference + margin), two_sided(_z(difference, variance))


def tuning(alpha: float, users: float) -> float:
    """The parameter rho squared that makes an always-valid interval narrowest at ``users``.

    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and
    asymptotic confidence sequences" (2021), the approximation of appendix B.2.
    """
    doubled = -2 * math.log(alpha)
    return (doubled + math.log(doubled + 1)) / users


def always_valid(
    difference: float, variance: float, users: int, rho2: float, alpha: float
) -> tuple[Interval, float]:
    """Interval and p-value of a difference that may be looked at at any time, and often.

    The asymptotic confidence sequence of Waudby-Smith et al. (theorem 2.2) for the variance of
    one user that ``variance * users`` stands for, and the p-value by which it leaves 0 out.

    Args:
        difference: The estimate.
        variance: Of the estimate.
        users: Of both variants together.
        rho2: What :func:`tuning` returned, for a number of users chosen in advance.
        alpha: One minus the confidence.
    """
    spread = users * rho2
    margin = reach(spread, alpha) * math.sqrt(variance)
    z = _z(difference, variance)
    exponent = min(0.5 * math.log(spread + 1) - z * z * spread / (2 * (spread + 1)), 0.0)
    return (difference - margin, difference + margin), math.exp(exponent)


def reach(spread: float, alpha: float) -> float:
    """Half the always-valid interval in standard errors; ``spread`` is users times rho squared."""
    return math.sqrt(2 * (spread + 1) / spread * math.log(math.sqrt(spread + 1) / alpha))


def _z(difference: float, variance: float) -> float:
    if variance > 0:
        return difference / math.sqrt(variance)
    return math.inf if difference else 0.0

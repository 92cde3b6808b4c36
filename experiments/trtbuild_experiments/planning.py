"""How many users an experiment needs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trtbuild_experiments.options import ALPHA, PlanOptions
from trtbuild_experiments.statistics import normal_quantile, tuning
from trtbuild_experiments.statistics.intervals import reach


@dataclass(frozen=True, slots=True)
class Needed:
    """Users of control and treatment together, those of the treatment, days (None: not known)."""

    users: int
    treatment: int
    days: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What an experiment needs.

    Attributes:
        change: The smallest change to find, in the metric's unit.
        sd: Standard deviation between users.
        always_valid: For a report that may be looked at at any time; at most so many.
        fixed: For one look at the end.
    """

    change: float
    sd: float
    always_valid: Needed
    fixed: Needed


def plan(options: PlanOptions) -> Plan:
    """The users at which a change of that size is found with the power that was asked for.

    Two independent samples of known variance; Holm's first step divides the 5 % by the number of
    comparisons. The always-valid interval is tuned to the number that results.
    """
    base = options.base
    sd = math.sqrt(base * (1 - base)) if options.sd is None else options.sd
    change = abs(base * options.mde)
    alpha = ALPHA / options.metrics
    power = normal_quantile(options.power)
    spread = tuning(alpha, 1.0)
    return Plan(
        change,
        sd,
        _needed(options, sd / change, reach(spread, alpha) + power),
        _needed(options, sd / change, normal_quantile(1 - alpha / 2) + power),
    )


def _needed(options: PlanOptions, noise: float, errors: float) -> Needed:
    """Users whose difference has a standard error of the change divided by ``errors``."""
    share = options.share
    exact = (noise * errors) ** 2 * options.variance_left / (share * (1 - share))
    users = math.ceil(exact)
    days = math.ceil(users / options.users_per_day) if options.users_per_day else None
    return Needed(users, math.ceil(exact * share), days)

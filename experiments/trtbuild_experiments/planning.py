"""How many users an experiment needs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trtbuild.errors import BenchError, UsageError
from trtbuild.progress import SILENT, Progress
from trtbuild_experiments.metrics import estimate, parse_metrics, require_known, totals
from trtbuild_experiments.options import ALPHA, FEWEST, PlanOptions
from trtbuild_experiments.records import read_records
from trtbuild_experiments.statistics import normal_quantile, tuning
from trtbuild_experiments.statistics.intervals import reach

_SMALLEST = 1e-6  # of a standard deviation: more users than there are people


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
        base: The metric's value today.
        change: The smallest change to find, in the metric's unit.
        sd: Standard deviation between users.
        always_valid: For a report that may be looked at at any time; at most so many.
        fixed: For one look at the end.
    """

    base: float
    change: float
    sd: float
    always_valid: Needed
    fixed: Needed


def plan(options: PlanOptions, shown: Progress = SILENT) -> Plan:
    """The users at which a change of that size is found with the power that was asked for.

    Two independent samples of known variance; Holm's first step divides the 5 % by the number of
    comparisons. The always-valid interval is tuned to the number that results.

    Raises:
        UsageError: A change too small to find, a damaged record, several experiments, or a metric
            that is a quantile.
        BenchError: The metric was not recorded, or is 0 or the same for everybody.
    """
    base, sd = _today(options, shown)
    change = abs(base * options.mde)
    if change < sd * _SMALLEST:
        raise UsageError(
            f"a change of {change:g} is too small to find, with {sd:g} between users",
            fix="give the smallest change that would decide something as --mde: 0.1 is 10 %",
        )
    alpha = ALPHA / options.metrics
    power = normal_quantile(options.power)
    spread = tuning(alpha, 1.0)
    return Plan(
        base,
        change,
        sd,
        _needed(options, sd / change, reach(spread, alpha) + power),
        _needed(options, sd / change, normal_quantile(1 - alpha / 2) + power),
    )


def _today(options: PlanOptions, shown: Progress) -> tuple[float, float]:
    """The metric's value and its standard deviation between users, in the metric's unit."""
    if options.base is not None:
        base = options.base
        return base, math.sqrt(base * (1 - base)) if options.sd is None else options.sd
    (metric,) = parse_metrics([options.metric])
    if metric.share is not None:
        raise UsageError(
            f"there is no plan for the quantile {metric.text}",
            fix=f"plan for its mean: --metric {metric.name}",
        )
    records = read_records(options.files(), options.experiment, shown)
    require_known([metric], records)
    everybody = np.arange(len(records.users))
    found = estimate(metric, totals(metric, records), everybody, "all users")
    sd = float(found.influence.std(ddof=1)) if len(everybody) > 1 else 0.0
    if not found.value or not sd:
        raise BenchError(
            f"{metric.text} is {found.value:g} and the same for every user",
            where=f"{len(everybody)} users",
            fix="plan with a metric that differs between users, from more of them",
        )
    return found.value, sd if options.sd is None else options.sd


def _needed(options: PlanOptions, noise: float, errors: float) -> Needed:
    """Users whose difference has a standard error of the change divided by ``errors``."""
    share = options.share
    exact = (noise * errors) ** 2 * options.variance_left / (share * (1 - share))
    exact = max(exact, FEWEST / min(share, 1 - share))
    users = math.ceil(exact)
    days = math.ceil(users / options.users_per_day) if options.users_per_day else None
    return Needed(users, math.ceil(exact * share), days)

"""The result of an experiment: first whether users were divided as meant, then each metric."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trtbuild.errors import BenchError, UsageError
from trtbuild.progress import Progress
from trtbuild_experiments.metrics import (
    Metric,
    covariate,
    estimate,
    observations,
    parse_metrics,
    require_known,
    totals,
)
from trtbuild_experiments.options import ALPHA, FEWEST, ReportOptions
from trtbuild_experiments.ranked import add_measures
from trtbuild_experiments.records import Records, read_before, read_records
from trtbuild_experiments.statistics import (
    Difference,
    always_valid,
    at_one_look,
    difference,
    holm,
    quantile,
    sample_ratio,
    tuning,
)

MISMATCH = 0.001
"""Below this p-value users were not divided as meant, and nothing is compared."""
Judged = tuple[tuple[float, float], float]
"""An interval and a p-value."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of one variant against the control.

    Attributes:
        difference: Treatment minus control.
        interval: Of the difference, 95 %.
        relative: The difference as a share of the control's value; None where that is 0.
        p_value: For this comparison alone.
        adjusted: For all comparisons of the report together (Holm).
        verdict: higher, lower, or no difference shown.
        variance_left: By values from before the experiment; None without.
    """

    metric: str
    variant: str
    control: float
    treatment: float
    difference: float
    interval: tuple[float, float]
    relative: float | None
    p_value: float
    adjusted: float
    verdict: str
    variance_left: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """The result of an experiment; without comparisons where users were not divided as meant."""

    experiment: str
    control: str
    users: dict[str, int]
    weights: dict[str, float]
    sample_ratio_p: float
    intervals: str
    comparisons: tuple[Comparison, ...]
    left_out: dict[str, int]

    @property
    def mismatch(self) -> bool:
        """Users were not divided by the weights."""
        return self.sample_ratio_p < MISMATCH

    def as_dict(self) -> dict[str, Any]:
        """The report as ``--json`` prints it."""
        return {**asdict(self), "mismatch": self.mismatch}


def report(options: ReportOptions, shown: Progress) -> Report:
    """Read the records and compare every variant with the control.

    Raises:
        UsageError: An option that cannot be, or a damaged record.
        BenchError: Too few users, or a metric that was not recorded.
    """
    metrics, weights = parse_metrics(options.metric), dict(options.weights())
    records = read_records(options.files(), options.experiment, shown)
    if options.judgements:
        add_measures(metrics, options.judgements, records)
    require_known(metrics, records)
    members = _members(records)
    weights = weights or dict.fromkeys(members, 1.0)
    control = _control(options.control, members, weights)
    users = {
        name: len(members.get(name, ())) for name in (control, *sorted({*weights} - {control}))
    }
    chance = sample_ratio(list(users.values()), [weights[name] for name in users])
    before = None
    comparisons: tuple[Comparison, ...] = ()
    if chance >= MISMATCH:
        _require_users(users)
        if options.pre:
            before = read_before(options.files_before(), records.users, shown)
            records.left_out.update(before.left_out)
        judge = _Judge(options, records, before, members, control)
        comparisons = judge.comparisons(metrics, [name for name in users if name != control], shown)
    return Report(
        records.experiment,
        control,
        users,
        weights,
        chance,
        "fixed" if options.fixed else "always valid",
        comparisons,
        dict(records.left_out),
    )


def _members(records: Records) -> dict[str, NDArray[np.int64]]:
    """The users of each variant; those who had several are left out."""
    found: dict[str, list[int]] = {}
    for user, variants in enumerate(records.variants):
        if len(variants) == 1:
            found.setdefault(next(iter(variants)), []).append(user)
        else:
            records.left_out["users who had several variants"] += 1
    return {name: np.array(found[name], dtype=np.int64) for name in sorted(found)}


def _control(asked: str, members: dict[str, Any], weights: dict[str, float]) -> str:
    unknown = sorted(members.keys() - weights.keys())
    if unknown:
        raise UsageError(
            f"the variant {unknown[0]!r} has users and no weight",
            fix=f"give --weight {unknown[0]}=NUMBER, too",
        )
    control = asked or "control"
    if control not in weights:
        raise UsageError(
            f"there is no variant {control!r}",
            where=f"variants: {', '.join(sorted(weights))}",
            fix="name the variant to compare with: --control NAME",
        )
    if len(weights) < 2:
        raise BenchError(
            f"there is only one variant: {control}",
            fix="an experiment compares two or more; give both weights with --weight if the "
            "other one has no users",
        )
    return control


def _require_users(users: dict[str, int]) -> None:
    for name, count in users.items():
        if count < FEWEST:
            raise BenchError(
                f"{name} has {count} users, too few to compare",
                fix=f"wait until every variant has {FEWEST}; `trtbuild ab plan` says how many "
                "a result needs",
            )


class _Judge:
    """Compares variants by metrics."""

    def __init__(
        self,
        options: ReportOptions,
        records: Records,
        before: Records | None,
        members: dict[str, NDArray[np.int64]],
        control: str,
    ) -> None:
        self._options, self._records, self._before = options, records, before
        self._members, self._control = members, control

    def comparisons(
        self, metrics: tuple[Metric, ...], variants: list[str], shown: Progress
    ) -> tuple[Comparison, ...]:
        """Every metric of every variant, judged together."""
        pairs = [(metric, variant) for metric in metrics for variant in variants]
        found = []
        for metric, variant in pairs:
            shown.step(f"comparing {metric.text} of {variant}")
            found.append(self._difference(metric, variant))
        judged = [self._interval(one, pair[1]) for one, pair in zip(found, pairs, strict=True)]
        return tuple(
            _comparison(*pair, one, *result)
            for pair, one, result in zip(pairs, found, _holm(judged), strict=True)
        )

    def _difference(self, metric: Metric, variant: str) -> Difference:
        sides = (self._control, variant)
        if metric.share is not None:
            (low, spread), (high, other) = (self._quantile(metric, name) for name in sides)
            return Difference(low, high, spread + other)
        numbers = totals(metric, self._records)
        first, second = (estimate(metric, numbers, self._members[name], name) for name in sides)
        earlier = covariate(metric, self._before) if self._before else None
        if earlier is None:
            return difference(first, second)
        a, b = (earlier[self._members[name]] for name in sides)
        return difference(first, second, (a, b))

    def _quantile(self, metric: Metric, variant: str) -> tuple[float, float]:
        values, users = observations(metric, self._records)
        members = self._members[variant]
        number = np.full(len(self._records.users), -1)
        number[members] = np.arange(len(members))
        kept = number[users] >= 0
        if not kept.any():
            raise BenchError(
                f"{metric.text} has no value for {variant}",
                fix="choose a metric that was recorded for every variant",
            )
        return quantile(values[kept], number[users[kept]], len(members), metric.share or 0.5)

    def _interval(self, one: Difference, variant: str) -> Judged:
        if self._options.fixed:
            return at_one_look(one.value, one.variance, ALPHA)
        users = len(self._members[self._control]) + len(self._members[variant])
        rho2 = tuning(ALPHA, self._options.expected_users)
        return always_valid(one.value, one.variance, users, rho2, ALPHA)


def _holm(judged: list[Judged]) -> list[tuple[Judged, float]]:
    return list(zip(judged, holm([chance for _, chance in judged]), strict=True))


def _comparison(
    metric: Metric, variant: str, one: Difference, judged: Judged, adjusted: float
) -> Comparison:
    interval, chance = judged
    verdict = "no difference shown"
    if adjusted < ALPHA:
        verdict = "higher" if one.value > 0 else "lower"
    relative = one.value / abs(one.control) if one.control else None
    return Comparison(
        metric.text,
        variant,
        one.control,
        one.treatment,
        one.value,
        interval,
        relative,
        chance,
        adjusted,
        verdict,
        one.variance_left,
    )

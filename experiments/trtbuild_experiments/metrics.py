"""Metrics: what is computed from the records of each user."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trtbuild.errors import BenchError, UsageError
from trtbuild_experiments.records import Records, Series
from trtbuild_experiments.statistics.estimates import Estimate, Floats, ratio

_NAME = r"[A-Za-z_][\w.@-]*"
_FORM = re.compile(rf"(?:p(\d{{1,2}}(?:\.\d+)?):)?({_NAME})(?:/({_NAME}))?")
_BUILT_IN = ("requests", "users")


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as it was asked for.

    Attributes:
        text: How it was written.
        name: The values of the numerator, or of the quantile.
        per: What they are divided by: another name, requests, users; empty: their number.
        share: Of a quantile, such as 0.95; None for a ratio.
    """

    text: str
    name: str
    per: str
    share: float | None


def parse_metrics(texts: Iterable[str]) -> tuple[Metric, ...]:
    """The metrics of ``--metric``.

    Raises:
        UsageError: None, or one that is not written like a metric.
    """
    found = tuple(_parsed(text) for text in dict.fromkeys(texts))
    if not found:
        raise UsageError("no metric was given", fix="name one, such as --metric latency_ms")
    return found


def _parsed(text: str) -> Metric:
    match = _FORM.fullmatch(text)
    share = float(match[1]) / 100 if match and match[1] else None
    if match is None or share == 0 or (share is not None and match[3]):
        raise UsageError(
            f"--metric {text} is not a metric",
            fix="write latency_ms for a mean, click/requests for a ratio of totals, "
            "p95:latency_ms for a quantile",
        )
    return Metric(text, match[2], match[3] or "", share)


def require_known(metrics: Iterable[Metric], records: Records) -> None:
    """Check that there are values of each metric.

    Raises:
        BenchError: Nothing of that name was recorded.
    """
    for metric in metrics:
        for name in filter(None, (metric.name, metric.per)):
            if name not in records.series and (name not in _BUILT_IN or metric.share):
                raise BenchError(
                    f"nothing named {name!r} was recorded",
                    where=f"--metric {metric.text}",
                    fix=f"recorded are: {', '.join(sorted({*records.series, *_BUILT_IN}))}",
                )


def totals(metric: Metric, records: Records) -> tuple[Floats, Floats]:
    """The numerator and the denominator of each user."""
    return _total(metric.name, records), (
        _total(metric.per, records) if metric.per else _number(metric.name, records)
    )


def estimate(
    metric: Metric, numbers: tuple[Floats, Floats], where: NDArray[Any], variant: str
) -> Estimate:
    """A ratio metric for the users at ``where``.

    Raises:
        BenchError: Its denominator is 0.
    """
    above, below = (one[where] for one in numbers)
    if not below.sum():
        raise BenchError(
            f"{metric.text} has no value for {variant}: "
            f"the total of {metric.per or metric.name + ' values'} is 0",
            fix="choose a metric that was recorded for every variant",
        )
    return ratio(above, below)


def covariate(metric: Metric, before: Records) -> Floats | None:
    """What each user's value was before; users without a value get the mean. None where
    nothing was recorded, or the same of everybody."""
    if metric.name not in before.series and metric.name not in _BUILT_IN:
        return None
    above, below = totals(metric, before)
    found = ratio(above, below).influence if below.sum() else np.zeros(len(below))
    return found if found.any() else None


def observations(metric: Metric, records: Records) -> tuple[Floats, NDArray[np.int64]]:
    """The values of a quantile metric and the user of each."""
    series = records.series[metric.name]
    return np.array(series.values), np.array(series.users, dtype=np.int64)


def _total(name: str, records: Records) -> Floats:
    if name == "requests" and name not in records.series:
        return np.array(records.requests, dtype=float)
    if name == "users" and name not in records.series:
        return np.ones(len(records.users))
    series = records.series.get(name, Series())
    users = np.array(series.users, dtype=np.int64)
    return np.bincount(users, np.array(series.values), minlength=len(records.users)).astype(float)


def _number(name: str, records: Records) -> Floats:
    if name not in records.series:
        return np.ones(len(records.users))
    users = np.array(records.series[name].users, dtype=np.int64)
    return np.bincount(users, minlength=len(records.users)).astype(float)

"""Metrics of experiments by variant."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 640)
_LABELS = ("experiment", "variant")
_PREFIX = "trtbuild_gateway_experiment"


class Figures:
    """Counts and times of the requests of each variant."""

    def __init__(self) -> None:
        self.requests = Counter(
            f"{_PREFIX}_requests",
            "Requests of a variant; error is empty for those that were answered.",
            (*_LABELS, "error"),
            registry=None,
        )
        self.seconds = Histogram(
            f"{_PREFIX}_request_seconds",
            "From the first byte of the request to the last of the answer.",
            _LABELS,
            buckets=_SECONDS,
            registry=None,
        )
        self.first = Histogram(
            f"{_PREFIX}_first_token_seconds",
            "From the first byte of the request to the first token of its stream.",
            _LABELS,
            buckets=_SECONDS,
            registry=None,
        )
        self.feedback = Counter(
            f"{_PREFIX}_feedback", "Values that applications sent.", _LABELS, registry=None
        )
        self.left_out = Counter(
            f"{_PREFIX}_left_out",
            "Requests for the model of an experiment that took no part.",
            ("experiment", "reason"),
            registry=None,
        )

    def collect(self, waiting: int, lost: int) -> Iterable[Metric]:
        """Yield the metrics, with the records that wait and that are lost."""
        for one in (self.requests, self.seconds, self.first, self.feedback, self.left_out):
            yield from one.collect()
        yield GaugeMetricFamily(
            "trtbuild_gateway_exposures_waiting", "Records that are not written yet.", waiting
        )
        yield CounterMetricFamily(
            "trtbuild_gateway_exposures_lost", "Records that were never written.", lost
        )

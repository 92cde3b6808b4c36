"""Metrics of the servers, read from their state when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from trtbuild_gateway.routing.pool import Pool

_LABELS = ("model", "server")
_STATES = {"closed": 0, "half-open": 1, "open": 2}


class Report(Collector):
    """Prometheus's view of the pools: nothing is counted twice, and servers that have gone leave
    no series behind."""

    def __init__(self, pools: Callable[[], Iterable[Pool]]) -> None:
        self._pools = pools

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        open_ = _gauge("requests_in_flight", "Requests that a server has not answered.")
        state = _gauge("breaker_state", "0: closed, 1: half-open, 2: open.")
        up = _gauge("up", "Whether a server answered when it was last asked for its models.")
        sent = _counter("attempts", "Requests sent to a server, retries included.")
        retried = _counter("retries", "Requests that went on from a server to another.")
        errors = _counter("errors", "Failures of a server.", (*_LABELS, "error"))
        waiting = GaugeMetricFamily(
            "trtbuild_gateway_requests_waiting", "Requests that wait.", labels=("model",)
        )
        refused = CounterMetricFamily(
            "trtbuild_gateway_requests_shed", "Requests refused for load.", labels=("model",)
        )
        waits = HistogramMetricFamily(
            "trtbuild_gateway_queue_seconds",
            "How long requests waited for a server, those that did not included.",
            labels=("model",),
        )
        for pool in self._pools():
            waits.add_metric((pool.model,), list(pool.waits.buckets()), pool.waits.total)
            waiting.add_metric((pool.model,), pool.waiting)
            refused.add_metric((pool.model,), pool.refused)
            for one in pool.servers:
                labels = (pool.model, one.server)
                open_.add_metric(labels, one.in_flight)
                state.add_metric(labels, _STATES[one.breaker.state])
                up.add_metric(labels, one.up)
                sent.add_metric(labels, one.sent)
                retried.add_metric(labels, one.retries)
                for code, count in one.errors.items():
                    errors.add_metric((*labels, code), count)
        yield from (open_, state, up, sent, retried, errors, waiting, refused, waits)


def _gauge(name: str, help: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"trtbuild_gateway_server_{name}", help, labels=_LABELS)


def _counter(name: str, help: str, labels: tuple[str, ...] = _LABELS) -> CounterMetricFamily:
    return CounterMetricFamily(f"trtbuild_gateway_server_{name}", help, labels=labels)

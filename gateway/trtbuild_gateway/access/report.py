"""Metrics of access control, read from its state when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trtbuild_gateway.access.gate import AccessGate
from trtbuild_gateway.seams import Gate


class AccessReport(Collector):
    """Prometheus's view of the gate that is in use."""

    def __init__(self, gate: Callable[[], Gate]) -> None:
        self._gate = gate

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; none without access control."""
        gate = self._gate()
        if not isinstance(gate, AccessGate):
            return
        found = CounterMetricFamily(
            "trtbuild_gateway_masking_found", "Matches of masking rules.", labels=("kind",)
        )
        for kind, count in gate.found.items():
            found.add_metric((kind,), count)
        yield found
        if gate.audit is not None:
            yield GaugeMetricFamily(
                "trtbuild_gateway_audit_lines_waiting",
                "Lines that could not be written yet.",
                gate.audit.waiting,
            )
            yield CounterMetricFamily(
                "trtbuild_gateway_audit_lines_lost",
                "Lines that were never written.",
                gate.audit.lost,
            )

"""What every endpoint uses: settings, models, access control, metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from trtbuild_gateway.access.report import AccessReport
from trtbuild_gateway.batches.store import Batches
from trtbuild_gateway.experiments.running import ExperimentReport, Experiments
from trtbuild_gateway.metrics import Metrics
from trtbuild_gateway.routing.report import Report
from trtbuild_gateway.seams import Gate, OpenGate
from trtbuild_gateway.settings import Settings
from trtbuild_gateway.telemetry.spans import NoTraces, Traces
from trtbuild_gateway.upstream.catalog import Catalog

Prepare = Callable[[Settings], Callable[[], None]]
"""Checks what new settings name, and returns what begins to use it; UsageError if it cannot."""


@dataclass(slots=True)
class Gateway:
    """One gateway.

    Attributes:
        settings: What it serves, and how.
        catalog: The models.
        gate: Access control.
        metrics: Counts and times.
        traces: Records traces.
        batches: Files and batches; None: the gateway keeps none.
        experiments: Models that are compared on live users; None: nothing is recorded.
        draining: Whether new requests are refused.
        control: Takes another token for the control port; None without one.
        retired: Gates of earlier settings, which are closed at the end.
    """

    settings: Settings
    catalog: Catalog
    gate: Gate = field(default_factory=OpenGate)
    metrics: Metrics = field(default_factory=Metrics)
    traces: Traces = field(default_factory=NoTraces)
    batches: Batches | None = None
    experiments: Experiments | None = None
    draining: bool = False
    control: Prepare | None = None
    retired: list[Gate] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.metrics.registry.register(Report(lambda: self.catalog.pools))
        self.metrics.registry.register(AccessReport(lambda: self.gate))
        self.metrics.registry.register(ExperimentReport(lambda: self.experiments))

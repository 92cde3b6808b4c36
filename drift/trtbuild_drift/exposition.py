"""A report as Prometheus metrics, in a file for node_exporter's textfile collector."""

from __future__ import annotations

import time
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from trtbuild.files import atomic_write, disk_trouble
from trtbuild_drift.comparing import Report


def write(path: Path, report: Report) -> None:
    """Write the metrics at once, so that a scrape never sees half a file.

    Raises:
        BuildError: The disk is full, or the directory cannot be written.
    """
    with disk_trouble(path.parent):
        atomic_write(path, render(report), mode=0o644)  # node_exporter is another user


def render(report: Report) -> bytes:
    """Return the metrics in Prometheus' text format."""
    registry = CollectorRegistry()

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"trtbuild_drift_{name}", text, labels, registry=registry)

    texts = gauge("texts", "Compared texts of the last window.", "segment")
    for segment, count in report.texts.items():
        texts.labels(segment).set(count)
    by = ("segment", "signal")
    distance = gauge("distance", "Distance of the last window from the baseline.", *by)
    chance = gauge("p_value", "P-value, adjusted for all comparisons of the window.", *by)
    windows = gauge("windows", "Windows in a row that have drifted.", *by)
    alert = gauge("alert", "1 if enough windows in a row have drifted.", *by)
    for one in report.signals:
        for metric, value in (
            (distance, one.distance),
            (chance, one.adjusted),
            (windows, one.windows),
            (alert, one.alert),
        ):
            metric.labels(one.segment, one.name).set(value)
    at = gauge("compared_timestamp_seconds", "When the last window was compared.")
    at.set(time.time())
    return generate_latest(registry)

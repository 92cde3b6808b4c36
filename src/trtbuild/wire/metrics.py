"""A server's ``/metrics``: Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """One value. The ``_total`` that some servers append to a counter's name is left out."""

    name: str
    labels: Mapping[str, str]
    value: float


def parse_metrics(text: str) -> Iterator[Metric]:
    """The values of a page, without the buckets of histograms and the quantiles of summaries.

    Raises:
        ValueError: The text is not in Prometheus' format.
    """
    from prometheus_client.parser import text_string_to_metric_families

    # Buckets are most of vLLM's page, and parsing them would disturb a load generator nearby.
    lines = (line for line in text.splitlines() if "_bucket{" not in line)
    for family in text_string_to_metric_families("\n".join(lines)):
        for sample in family.samples:
            if "quantile" not in sample.labels:
                yield Metric(sample.name.removesuffix("_total"), sample.labels, sample.value)

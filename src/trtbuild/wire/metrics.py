"""A server's ``/metrics`` in the Prometheus text format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """One value. The suffix ``_total`` of a counter's name is removed."""

    name: str
    labels: Mapping[str, str]
    value: float


def parse_metrics(text: str) -> Iterator[Metric]:
    """Parse values, without the buckets of histograms and the quantiles of summaries.

    Raises:
        ValueError: The text is not in the Prometheus format.
    """
    from prometheus_client.parser import text_string_to_metric_families

    # Buckets are most of vLLM's page, and parsing them would slow down a load generator.
    lines = (line for line in text.splitlines() if "_bucket{" not in line)
    try:
        for family in text_string_to_metric_families("\n".join(lines)):
            for sample in family.samples:
                if "quantile" not in sample.labels:
                    yield Metric(sample.name.removesuffix("_total"), sample.labels, sample.value)
    except LookupError as error:  # of its parser, for a line that was cut off
        raise ValueError(f"not a page of metrics: {error}") from None

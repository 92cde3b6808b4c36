"""The tools of Prometheus and of Alertmanager, and expressions taken apart."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support import debian

_PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "amtool": "prometheus-alertmanager",
}


def program(name: str) -> Path:
    """The program of that name."""
    return debian.program(name, _PACKAGES[name])


def run_tool(name: str, *words: object) -> subprocess.CompletedProcess[str]:
    """What a command of ``promtool`` or ``amtool`` says."""
    command = [str(program(name)), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def labels_by_series(page: str) -> dict[str, set[str]]:
    """The labels of each series on a page of metrics, by its name as Prometheus stores it."""
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            # The parser gives every counter a suffix, those of Triton have none on the page.
            bare = sample.name.removesuffix("_total")
            name = bare if f"# TYPE {bare} counter" in page else sample.name
            found.setdefault(name, set()).update(sample.labels)
    return found


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """The metric and the labels of each selector in an expression, and those it groups by."""
    import promql_parser

    yield from _selectors(promql_parser.parse(expression))


def _selectors(node: Any) -> Iterator[tuple[str, set[str]]]:
    if type(node).__name__ == "VectorSelector":
        yield node.name, {one.name for one in node.matchers.matchers}
    for name in ("expr", "lhs", "rhs", "vector_selector"):
        if hasattr(node, name):
            yield from _selectors(getattr(node, name))
    for one in getattr(getattr(node, "args", None), "args", None) or getattr(node, "args", ()):
        yield from _selectors(one)

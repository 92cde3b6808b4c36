"""The charts of a result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from trtbuild_measure.bench.model import Json
from trtbuild_measure.bench.report.svg import Chart, Line
from trtbuild_measure.bench.results import TITLES

_CURVES = ("ttft_ms", "itl_ms", "e2e_ms")
_WIDEST = 30  # bins below a thirtieth of the median are cut off
_SHARE = 0.995  # share of a distribution that is drawn; the rest is in the table


def charts_of(result: Json) -> dict[str, Chart]:
    """Return charts by a name that is valid as a file name."""
    targets = result["targets"]
    found = {}
    labels = _labels(targets)
    if len(labels) > 1:
        found["throughput"] = _throughput(targets, labels)
        for name in _CURVES:
            found[f"{name.removesuffix('_ms')}_by_load"] = _by_load(targets, labels, name)
    for name in ("ttft_ms", "itl_ms"):
        chart = _distribution(targets, labels[-1], name) if labels else None
        if chart is not None:
            found[f"{name.removesuffix('_ms')}_distribution"] = chart
    timeline = _timeline(targets, labels[-1]) if labels else None
    if timeline is not None:
        found["timeline"] = timeline
    return found


def _labels(targets: Sequence[Json]) -> list[str]:
    """Return the labels of all loads in measuring order (rates of a sweep: ascending)."""
    loads = {one["load"]["label"]: one["load"] for target in targets for one in target["loads"]}
    return sorted(loads, key=lambda label: _size(loads[label]))


def _size(load: Json) -> float:
    return float(load.get("concurrency") or load.get("rate") or 0)


def _short_label(label: str) -> str:
    return label.split(" ", 1)[0]


def _brief(label: str) -> str:
    """Shorten a label: the kind of arrivals is the same for all of a chart."""
    return label.removesuffix(" poisson").removesuffix(" constant")


def _x_title(labels: Sequence[str]) -> str:
    return "clients" if "client" in labels[0] else "requests/s"


def _points(target: Json, labels: Sequence[str]) -> Iterator[tuple[float, Json]]:
    known = {one["load"]["label"]: one for one in target["loads"]}
    for index, label in enumerate(labels):
        if label in known:
            yield float(index), known[label]["metrics"]


def _throughput(targets: Sequence[Json], labels: Sequence[str]) -> Chart:
    lines = [
        Line(
            target["name"],
            colour,
            [
                (x, metrics["output_tokens_per_s"])
                for x, metrics in _points(target, labels)
                if metrics["output_tokens_per_s"]
            ],
        )
        for colour, target in enumerate(targets)
    ]
    return Chart("Output tokens/s", lines, _x_title(labels), [*map(_short_label, labels)])


def _by_load(targets: Sequence[Json], labels: Sequence[str], name: str) -> Chart:
    lines = []
    for colour, target in enumerate(targets):
        known = [(x, metrics[name]) for x, metrics in _points(target, labels) if metrics[name]]
        for part, dashed in (("p50", False), ("p99", True)):
            lines.append(
                Line(
                    f"{target['name']} {part}",
                    colour,
                    [(x, found[part]) for x, found in known],
                    dashed=dashed,
                    band=() if dashed else [(x, *found["interval"][part]) for x, found in known],
                )
            )
    title = f"{TITLES[name]}, ms (line p50, dashed p99)"
    return Chart(title, lines, _x_title(labels), [*map(_short_label, labels)])


def _distribution(targets: Sequence[Json], label: str, name: str) -> Chart | None:
    lines = []
    for colour, target in enumerate(targets):
        load = next((one for one in target["loads"] if one["load"]["label"] == label), None)
        curve = load["distributions"].get(name) if load else None
        if load and curve:
            lowest = load["metrics"][name]["p50"] / _WIDEST
            lines.append(Line(target["name"], colour, _cumulative(curve, lowest), dots=False))
    if not lines:
        return None
    title = f"{TITLES[name]} at {_brief(label)}: share below"
    return Chart(title, lines, "ms", log_x=True, top=1.0)


def _cumulative(curve: Sequence[Sequence[float]], lowest: float) -> list[tuple[float, float]]:
    total = sum(count for _, count in curve)
    shares = accumulate(count / total for _, count in curve)
    points = [(max(at, lowest), share) for (at, _), share in zip(curve, shares, strict=True)]
    kept = [point for point in points if point[1] <= _SHARE]
    return [(points[0][0], 0.0), *kept, *points[len(kept) : len(kept) + 1]]


def _timeline(targets: Sequence[Json], label: str) -> Chart | None:
    lines = []
    for colour, target in enumerate(targets):
        load = next((one for one in target["loads"] if one["load"]["label"] == label), None)
        rows = load["series"]["rows"] if load else ()
        if len(rows) > 2 and any(row["output_tokens_per_s"] for row in rows):
            start = next((row["s"] for row in rows if row["output_tokens_per_s"]), 0.0)
            points = [(row["s"], row["output_tokens_per_s"]) for row in rows if row["s"] >= start]
            lines.append(Line(target["name"], colour, points, dots=False))
    if not lines:
        return None
    return Chart(
        f"Output tokens/s over time at {_brief(label)}", lines, "seconds since the load began"
    )

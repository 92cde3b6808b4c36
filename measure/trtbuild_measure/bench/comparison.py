"""Targets of one run side by side: ratios with intervals, against the baseline or the first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from trtbuild_measure.bench.model import Json

LOWER_IS_BETTER = ("ttft_ms", "itl_ms", "tpot_ms", "e2e_ms")
HIGHER_IS_BETTER = ("output_tokens_per_s", "requests_per_s", "sequences_per_s")
_Z = 1.96


def ratio(ours: float, reference: float) -> float | None:
    """``ours / reference``; None if either is missing or zero."""
    return ours / reference if reference else None


def ratio_interval(
    first: float, one_interval: Sequence[float], second: float, other_interval: Sequence[float]
) -> tuple[float, float] | None:
    """95 % interval of ``other / one`` from the two values' own intervals.

    The two values are assumed independent and log-normal, so the variances of their
    logarithms add up (the delta method).
    """
    if min(first, second, *one_interval, *other_interval) <= 0:
        return None
    spread = math.hypot(_deviation(one_interval), _deviation(other_interval))
    middle = math.log(second / first)
    return math.exp(middle - _Z * spread), math.exp(middle + _Z * spread)


def _deviation(interval: Sequence[float]) -> float:
    return (math.log(interval[1]) - math.log(interval[0])) / (2 * _Z)


def side_by_side(targets: Sequence[Json]) -> list[Json]:
    """Return the ratios of each target to the reference, for each load.

    The reference is the naive baseline if there is one, because that is what a server should
    beat. Otherwise it is the first target.
    """
    rows: list[Json] = []
    reference = next((one for one in targets if one["kind"] == "baseline"), targets[0])
    others = [one for one in targets if one is not reference]
    for load in reference["loads"]:
        label = load["load"]["label"]
        for other in others:
            match = find_load(other, label)
            if match is not None:
                rows.append(
                    {
                        "load": label,
                        "reference": reference["name"],
                        "target": other["name"],
                        "ratios": ratios(load, match),
                    }
                )
    return rows


def find_load(target: Json, label: str) -> Json | None:
    """The load called ``label``, or None."""
    found: Sequence[Json] = target["loads"]
    return next((one for one in found if one["load"]["label"] == label), None)


def ratios(reference: Json, other: Json) -> Json:
    """Ratios of ``other`` to ``reference``: rates, and each latency's p50 and p99."""
    found: Json = {}
    for name in HIGHER_IS_BETTER:
        ours, theirs = other["metrics"].get(name), reference["metrics"].get(name)
        found[name] = {"ratio": ratio(ours, theirs) if ours and theirs else None}
    for name in LOWER_IS_BETTER:
        for part in ("p50", "p99"):
            found[f"{name}.{part}"] = latency_ratio(
                reference["metrics"][name], other["metrics"][name], part
            )
    return found


def latency_ratio(before: Any, after: Any, part: str) -> Json:
    """Ratio of one percentile and its interval."""
    if not before or not after:
        return {"ratio": None}
    spans = [found["interval"][part] for found in (before, after)]
    interval = ratio_interval(before[part], spans[0], after[part], spans[1])
    return {"ratio": ratio(after[part], before[part]), "interval": interval}

"""Compare two results of the same benchmark: which figures changed by more than chance."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from trtbuild_measure.bench.comparison import (
    HIGHER_IS_BETTER,
    LOWER_IS_BETTER,
    find_load,
    ratio_interval,
)
from trtbuild_measure.bench.model import Json
from trtbuild_measure.bench.parity import differences
from trtbuild_measure.bench.shares import share_interval

_PARTS = ("mean", "p50", "p99")
# A rate has no interval of its own. It comes from the same requests as the mean latency, so the
# relative interval of that is used.
_RATE_INTERVAL = "e2e_ms"
_FEW = 200  # minimum requests for a 99th percentile; below, one or two requests decide it
_TOO_FEW = 10  # minimum for an interval by resampling


def compare_results(
    before: Json, after: Json, threshold: float, allow: Collection[str] = ()
) -> Json:
    """Return rows of ``before``, ``after``, ``ratio``, its interval and a verdict; and notes.

    ``refused`` has the reasons why they must not be compared, by kind, except for the kinds in
    ``allow``; then there are no rows.

    A figure is ``worse`` when its whole interval lies beyond ``threshold`` (a share, 0.05 is 5 %)
    on the wrong side, ``better`` on the right side, ``same`` when it lies within, else ``unclear``.
    The shares of failed requests, and of those that met the SLO (where both runs had the same one),
    are worse or better when their intervals do not overlap.
    """
    rows: list[Json] = []
    reasons = differences(before, after)
    refused = [one for one in reasons if one.kind not in allow]
    notes = [*_notes(before, after), *(one.text for one in reasons if one.kind in allow)]
    found: Json = {"threshold": threshold, "rows": rows, "notes": notes}
    found["refused"] = [{"kind": one.kind, "text": one.text} for one in refused]
    if refused:
        return found
    known = {target["name"]: target for target in after["targets"]}
    for target in before["targets"]:
        other = known.get(target["name"])
        if other is None:
            notes.append(f"{target['name']} was not measured the second time")
            continue
        for load in target["loads"]:
            label = load["load"]["label"]
            match = find_load(other, label)
            if match is None:
                notes.append(f"{target['name']}: no {label} the second time")
                continue
            judged = [*_shares(load, match), *_rows(load, match, threshold)]
            rows.extend({"target": target["name"], "load": label, **row} for row in judged)
            if apart := _other_slo(load, match):
                notes.append(f"{target['name']}, {label}: {apart}")
            if absent := _absent(load, match):
                notes.append(f"{target['name']}, {label}: no {absent} the second time")
            if _fewest(load, match) < _TOO_FEW:
                notes.append(
                    f"{target['name']}, {label}: too few requests succeeded to judge their figures"
                )
    return found


def _notes(before: Json, after: Json) -> Iterator[str]:
    for key in ("cpu", "cores", "gpus"):
        one, other = before["environment"].get(key), after["environment"].get(key)
        if one != other:
            yield f"another machine: {key} {one} and {other}"
    for name, found in (("first", before), ("second", after)):
        if found.get("partial"):
            yield f"the {name} result is partial: {found['partial']}"


def _other_slo(before: Json, after: Json) -> str:
    slos = [(load.get("goodput") or {}).get("slo") or {} for load in (before, after)]
    if slos[0] == slos[1]:
        return ""
    one, other = map(_slo_text, slos)
    return f"the objectives differ ({one} and {other}), so nothing is said of them"


def _slo_text(slo: Mapping[str, float]) -> str:
    limits = (f"{name.removesuffix('_ms')}={limit:g}ms" for name, limit in slo.items())
    return ",".join(limits) or "none"


def _fewest(before: Json, after: Json) -> int:
    return min(int(load["requests"]["ok"]) for load in (before, after))


def _absent(before: Json, after: Json) -> str:
    names = (*HIGHER_IS_BETTER, *LOWER_IS_BETTER)
    one, other = before["metrics"], after["metrics"]
    return ", ".join(name for name in names if one.get(name) and not other.get(name))


def _shares(before: Json, after: Json) -> Iterator[Json]:
    loads = (before, after)
    asked = [load["requests"]["measured"] for load in loads]
    failed = [load["requests"]["failed"] for load in loads]
    if any(failed):
        yield _share("failed requests", failed, asked, higher=False)
    goodputs = [load["goodput"] for load in loads if load.get("goodput")]
    if len(goodputs) == len(loads) and goodputs[0]["slo"] == goodputs[1]["slo"]:
        shares = [one["share"] for one in goodputs]
        met = [round(share * measured) for share, measured in zip(shares, asked, strict=True)]
        yield _share("requests within the SLO", met, asked, higher=True)


def _share(metric: str, counts: Sequence[int], totals: Sequence[int], *, higher: bool) -> Json:
    """Return ``worse`` or ``better`` if the intervals of the two shares do not overlap."""
    one, other = (count / max(of, 1) for count, of in zip(counts, totals, strict=True))
    before, after = (share_interval(count, of) for count, of in zip(counts, totals, strict=True))
    verdict = "unclear"
    if after[0] > before[1]:
        verdict = "better" if higher else "worse"
    elif after[1] < before[0]:
        verdict = "worse" if higher else "better"
    return {
        "metric": metric,
        "before": one,
        "after": other,
        "ratio": other / one if one else None,
        "interval": None,
        "verdict": verdict,
    }


def _rows(before: Json, after: Json, threshold: float) -> Iterator[Json]:
    one, other = before["metrics"], after["metrics"]
    spreads = [_relative(metrics.get(_RATE_INTERVAL)) for metrics in (one, other)]
    judged = _fewest(before, after) >= _TOO_FEW
    for name in HIGHER_IS_BETTER:
        if one.get(name) and other.get(name):
            intervals = [
                (value * low, value * high)
                for value, (low, high) in zip((one[name], other[name]), spreads, strict=True)
            ]
            found = ratio_interval(one[name], intervals[0], other[name], intervals[1])
            found = found if judged else None
            yield _row(name, one[name], other[name], found, threshold, higher=True)
    for name in LOWER_IS_BETTER:
        if not one.get(name) or not other.get(name):
            continue
        for part in _PARTS:
            if part == "p99" and _fewest(before, after) < _FEW:
                continue
            intervals = [one[name]["interval"][part], other[name]["interval"][part]]
            values = (one[name][part], other[name][part])
            found = ratio_interval(values[0], intervals[0], values[1], intervals[1])
            found = found if judged else None
            yield _row(f"{name} {part}", *values, found, threshold, higher=False)


def _relative(latency: Json | None) -> tuple[float, float]:
    """Return the interval of a mean latency relative to it."""
    if not latency:
        return (1.0, 1.0)
    low, high = latency["interval"]["mean"]
    return low / latency["mean"], high / latency["mean"]


def _row(
    metric: str,
    before: float,
    after: float,
    interval: tuple[float, float] | None,
    threshold: float,
    *,
    higher: bool,
) -> Json:
    return {
        "metric": metric,
        "before": before,
        "after": after,
        "ratio": after / before if before else None,
        "interval": interval,
        "verdict": _verdict(interval, threshold, higher=higher),
    }


def _verdict(interval: tuple[float, float] | None, threshold: float, *, higher: bool) -> str:
    if interval is None:
        return "unclear"
    low, high = interval
    most, least = 1 + threshold, 1 / (1 + threshold)
    if low > most:
        return "better" if higher else "worse"
    if high < least:
        return "worse" if higher else "better"
    return "same" if least <= low and high <= most else "unclear"

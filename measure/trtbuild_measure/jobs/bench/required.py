"""A share of requests that must meet the objectives: for pipelines, which read the exit code."""

from __future__ import annotations

from trtbuild.errors import BenchError, UsageError
from trtbuild_measure.bench.model import Json
from trtbuild_measure.bench.options import BenchOptions


def require_objectives(options: BenchOptions) -> None:
    """Raise UsageError when no share of these loads could be required."""
    if options.sweep or not options.slo:
        raise UsageError(
            "--min-in-slo needs objectives, and loads that are given",
            fix="add --slo ttft=500ms,itl=50ms, and leave out --sweep",
        )


def require_share(result: Json, share: float) -> None:
    """Raise BenchError when a load has fewer requests in its objectives than ``share``."""
    found = [
        (f"{target['name']} at {load['load']['label']}", load["goodput"])
        for target in result["targets"]
        for load in target["loads"]
        if load["goodput"]["share"] < share
    ]
    if found:
        raise BenchError(
            f"less than {share:.1%} of the requests met the objectives",
            where=found[0][0] if len(found) == 1 else "",
            details=tuple(f"{place}: {goodput['share']:.1%}" for place, goodput in found),
            fix="see which objective was missed, and lower the load or relax it (--slo)",
        )

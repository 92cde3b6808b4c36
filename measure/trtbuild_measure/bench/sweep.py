"""The highest rate at which a target still holds its objectives.

The rate doubles until the SLO is missed. Then a bisection in the logarithm searches between the
last rate that held and the first that did not. Each rate is a separate run with its own warm-up.

With fifty requests, a single one that is late by chance misses the SLO, and the search would
continue at lower rates. So a rate whose miss is within chance is measured further, up to four times
as long, and judged by all of its requests.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from trtbuild_measure.bench.loads.model import Arrivals, Load
from trtbuild_measure.bench.running import LoadRun

_MOST_RUNS = 16
_CLOSE = 1.1  # the limit is known within 10 %
_MORE = 3  # further blocks for an undecided rate
_LOWEST = 1 / 8  # share of the rate to start from

Measure = Callable[[Load, LoadRun | None], Awaitable[LoadRun]]
"""A load, and the run of it that is to go on (None: a new one)."""


@dataclass(slots=True)
class Sweep:
    """The result of a sweep; ``held`` is 0 if no rate met the SLO."""

    held: float = 0.0
    broke: float | None = None
    runs: list[LoadRun] = field(default_factory=list)


async def sweep(measure: Measure, start: float, arrivals: Arrivals) -> Sweep:
    """Search from ``start`` requests a second; end early if a run is cut short."""
    found = Sweep()
    rate: float | None = start
    for _ in range(_MOST_RUNS):
        if rate is None:
            break
        run = await _decided(measure, Load("open", rate=rate, arrivals=arrivals))
        found.runs.append(run)
        if run.partial:
            break
        if run.ledger.goodput.held:
            found.held = max(found.held, rate)
        else:
            found.broke = min(found.broke or rate, rate)
        rate = _next(found, start)
    return found


async def _decided(measure: Measure, load: Load) -> LoadRun:
    run = await measure(load, None)
    for _ in range(_MORE):
        if run.partial or not run.ledger.goodput.undecided:
            break
        run = await measure(load, run)
    return run


def _next(sweep: Sweep, start: float) -> float | None:
    """Return the next rate to try; None once the limit is known within the tolerance."""
    if sweep.broke is None:
        return sweep.held * 2
    if not sweep.held:
        lower = sweep.broke / 2
        return lower if lower >= start * _LOWEST else None
    if sweep.broke / sweep.held < _CLOSE:
        return None
    return float(f"{math.sqrt(sweep.held * sweep.broke):.3g}")

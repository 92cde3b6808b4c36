"""The client's own load: without a free core, a load generator measures itself."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from trtbuild_measure.bench.histogram import Distribution

SATURATED_CPU = 0.85  # share of one core above which requests and events wait for the client
SATURATED_LAG = 5.0  # ms at p50 by which the loop is late for a timer
_TICK = 0.05


@dataclass(slots=True)
class ClientWatch:
    """Sums up this process's CPU time and its loop's lateness over all blocks of a load."""

    cpu: float = 0.0
    wall: float = 0.0
    lag: Distribution = field(default_factory=Distribution)
    _task: asyncio.Task[None] | None = None
    _cpu_start: float = 0.0
    _wall_start: float = 0.0

    async def __aenter__(self) -> ClientWatch:
        self._cpu_start, self._wall_start = time.process_time(), time.perf_counter()
        self._task = asyncio.create_task(self._measure())
        return self

    async def __aexit__(self, *error: object) -> None:
        self.cpu += time.process_time() - self._cpu_start
        self.wall += time.perf_counter() - self._wall_start
        assert self._task is not None
        self._task.cancel()

    async def _measure(self) -> None:
        number = 0
        while True:
            before = time.perf_counter()
            await asyncio.sleep(_TICK)
            late = (time.perf_counter() - before - _TICK) * 1e3
            self.lag.add((max(late, 1e-3),), number)
            number += 1

    def as_dict(self) -> dict[str, object]:
        """Return for the result: ``cpu_share`` of one core, lateness in ms, ``saturated``."""
        share = self.cpu / self.wall if self.wall else 0.0
        lag = self.lag.percentile(50) if self.lag.count else None
        return {
            "cpu_share": share,
            "loop_lag_ms": {
                "p50": lag,
                "p99": self.lag.percentile(99) if self.lag.count else None,
            },
            "saturated": share > SATURATED_CPU or (lag or 0.0) > SATURATED_LAG,
        }

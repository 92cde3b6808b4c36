"""How many calls at a time: a fixed number, by the server's metrics, or by its refusals.

With metrics the rule is "running at most 80 %, nothing waiting": the free slots are for online
traffic, which then need not queue. Where free slots do not help it, the job yields.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from trtbuild_batch.engine.yielding import Load, Ours, Yielding

_FULL = 0.8
_SHRINK = 0.75
_GROW = 1.1
_FORGET = 1.0005  # each second: what was learnt in a busy moment is tried again in minutes
_GREEDY_WAITING = 2
_SLOWER, _SLOWEST = 2.0, 4.0  # times the best latency: grow no more, shrink


class Limiter(Protocol):
    """Decides how many calls may be in flight."""

    @property
    def limit(self) -> int:
        """Calls at a time; 0 while a job yields to others."""

    def succeeded(self, latency_ms: float) -> None:
        """A call has its answer."""

    def overloaded(self) -> None:
        """A call failed because the server has too much to do."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always the same number."""

    limit: int

    def succeeded(self, latency_ms: float) -> None:
        """Nothing changes."""

    def overloaded(self) -> None:
        """Nothing changes."""


@dataclass(slots=True)
class Aimd:
    """Additive increase, multiplicative decrease, and no growth while latency rises.

    A window is as many answers as the limit. Until the first sign of overload each window grows
    the limit by half, afterwards by one.

    Args:
        start: The first limit.
        most: The highest limit.
        greedy: Grow whatever the latency is, until the server refuses.
    """

    start: int = 8
    most: int = 256
    greedy: bool = False
    _limit: float = 0.0
    _slow: bool = False
    _best: float = math.inf
    _sum: float = 0.0
    _count: int = 0
    _calm: int = 0

    def __post_init__(self) -> None:
        self._limit = float(min(self.start, self.most))

    @property
    def limit(self) -> int:
        """See :class:`Limiter`."""
        return max(1, int(self._limit))

    def succeeded(self, latency_ms: float) -> None:
        """See :class:`Limiter`."""
        self._sum += latency_ms
        self._count += 1
        self._calm = max(0, self._calm - 1)
        if self._count >= self.limit:
            self._window(self._sum / self._count)
            self._sum, self._count = 0.0, 0

    def _window(self, latency: float) -> None:
        self._best = min(self._best * 1.001, latency)  # forgets slowly: requests change in length
        ratio = latency / self._best if self._best else 1.0
        if self.greedy or ratio <= _SLOWER:
            more = 1.0 if self._slow else max(1.0, self._limit / 2)
            self._limit = min(float(self.most), self._limit + more)
        elif ratio > _SLOWEST:
            self._slow = True
            self._limit = max(1.0, self._limit * 0.9)
        else:
            self._slow = True

    def overloaded(self) -> None:
        """See :class:`Limiter`. Refusals of one burst count once."""
        self._slow = True
        if self._calm == 0:
            self._limit = max(1.0, self._limit * _SHRINK)
            self._calm = self.limit


@dataclass(slots=True)
class Metered:
    """Follows the server's own counts, which :meth:`observe` is told about once a second.

    No server tells how many requests it runs at most. It is learnt: when requests wait, those that
    run are all that fit.

    Args:
        start: The first limit.
        most: The highest limit.
        greedy: Fill the server: accept two waiting requests, leave no slots free.
        yielding: Yields to requests that are not ours; None: the job never yields.
    """

    start: int = 8
    most: int = 256
    greedy: bool = False
    yielding: Yielding | None = None
    _limit: float = 0.0
    _capacity: float = math.inf

    def __post_init__(self) -> None:
        self._limit = float(min(self.start, self.most))

    @property
    def limit(self) -> int:
        """See :class:`Limiter`."""
        own = max(1, int(self._limit))
        return own if self.yielding is None else min(own, self.yielding.limit)

    def succeeded(self, latency_ms: float) -> None:
        """Nothing changes: the metrics decide."""

    def overloaded(self) -> None:
        """See :class:`Limiter`: a refusal is known before the metrics are."""
        self._limit = max(1.0, self._limit * _SHRINK)

    def observe(self, load: Load, ours: Ours) -> None:
        """Adapt to the server's load, of which ``ours`` is our own part."""
        self._fill(load, ours)
        if self.yielding is not None:
            self.yielding.observe(load, ours)

    def _fill(self, load: Load, ours: Ours) -> None:
        running = load.running if load.running is not None else float(ours.in_flight)
        if load.waiting > (_GREEDY_WAITING if self.greedy else 0):
            if running:
                self._capacity = running
            if ours.held > int(self._limit):  # the last step down has not taken effect yet
                return
            self._limit = max(1.0, min(self._limit, float(max(1, ours.held))) * _SHRINK)
            return
        if load.waiting:
            return  # as many as a greedy job wants
        full = 1.0 if self.greedy else _FULL
        self._capacity = max(self._capacity * _FORGET, running)
        room = (full * self._capacity - running) / ours.each
        if room < 0:
            self._limit = max(1.0, min(self._limit, ours.held + room))
        elif (load.memory or 0.0) < full and ours.held >= int(
            self._limit
        ):  # grow only if the limit is used
            more = min(max(1.0, self._limit * (_GROW - 1)), max(room, float(self.greedy)))
            self._limit = min(float(self.most), self._limit + more)

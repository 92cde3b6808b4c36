"""A job yields to requests that are not its own.

Free slots alone do not protect online traffic where the engine computes at its limit: each row of
a job lengthens every step, and a first token waits for a step. So a job that sees other requests
stops, learns from the server's own histogram how soon their first tokens come without it, and comes
back row by row as long as they come about as soon as that. Where even one row holds them up, it
works in a hundredth of the time, which the 99th percentile does not notice.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

# Seconds without other requests after which nobody else is there. Drawn at random: two jobs that
# yield to each other do not come back together.
_QUIET = (10.0, 20.0)
# Times the mean time to the first token without us. Few first tokens meet a new prompt of ours, and
# those wait longest: in simulations the 99th percentile grew four times as much as the mean.
SLOWDOWN = 1.05
_STANDSTILL = 60.0  # seconds without a first token, after which there is nobody to yield to
_ENOUGH = 5  # first tokens that a mean needs
_REMEMBERED = 50.0  # first tokens; older ones count less
_STALE = 600.0  # seconds after which the mean without us is measured again
_SHARE = 0.01  # of the time, at least, for a job that delays others
_SETTLED = 2  # observations after which metrics, up to a second old, show the current state
_START = 8


@dataclass(frozen=True, slots=True)
class Load:
    """What a server reports about itself.

    Attributes:
        waiting: Requests in its queue.
        running: Requests that it is computing; None if it does not report them.
        memory: Share of its KV cache in use, 0 to 1; None if it does not report it.
        firsts: First tokens that it has ever sent; None if it does not count them.
        first_seconds: The sum of the times to those tokens.
    """

    waiting: float
    running: float | None = None
    memory: float | None = None
    firsts: float | None = None
    first_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Ours:
    """What a job has sent to the server until ``now``, in seconds of any clock.

    Attributes:
        in_flight: Requests without an answer yet.
        asked: Requests ever made.
        now: The time.
        calls: Calls without an answer yet; None if each is one request.
    """

    in_flight: int
    asked: int = 0
    now: float = 0.0
    calls: int | None = None

    @property
    def held(self) -> int:
        """Calls without an answer yet."""
        return self.in_flight if self.calls is None else self.calls

    @property
    def each(self) -> float:
        """Requests of a call, on average."""
        return self.in_flight / self.held if self.held else 1.0


@dataclass(slots=True)
class _Mean:
    """A mean that forgets slowly."""

    count: float = 0.0
    total: float = 0.0

    def add(self, count: float, total: float) -> None:
        kept = max(0.0, 1 - count / _REMEMBERED)
        self.count = self.count * kept + count
        self.total = self.total * kept + total

    @property
    def known(self) -> bool:
        return self.count >= _ENOUGH

    @property
    def value(self) -> float:
        return self.total / self.count


@dataclass(slots=True)
class Yielding:
    """How many calls a job may make beside other requests; observes the server once a second.

    Without others, ``limit`` soon stops mattering.

    Args:
        slowdown: Limit of the mean time to the first token, as a multiple of that without us.
        limit: Calls that are allowed.
        chance: Draws how long the job waits.
    """

    slowdown: float = SLOWDOWN
    limit: int = _START
    chance: random.Random = field(default_factory=random.Random)  # not a secret
    _quiet: float = _QUIET[0]
    _alone: _Mean = field(default_factory=_Mean)
    _beside: _Mean = field(default_factory=_Mean)
    _load: Load | None = None
    _ours: Ours = Ours(0)
    _counted: float = 0.0  # the most first tokens that were certainly not ours
    _seen: float = -math.inf
    _served: float = -math.inf
    _visited: bool = False
    _harmless: bool | None = None  # None: not tried
    _measured: float = -math.inf
    _owed: float = 0.0  # seconds to stay away
    _looks: int = 0  # consecutive ones with calls of ours in flight, or without

    @property
    def visited(self) -> bool:
        """Whether others are there."""
        return self._visited

    def observe(self, load: Load, ours: Ours) -> None:
        """Adapt to what the server reports."""
        if load.firsts is None or load.running is None:
            self.limit = max(self.limit, _grown(self.limit))  # the server reports too little
            return
        before, self._load = self._load, load
        previous, self._ours = self._ours, ours
        if before is None or before.firsts is None or load.firsts < before.firsts:
            self._counted = load.firsts - ours.asked + ours.in_flight  # a new server starts at zero
            before = load
        same = bool(ours.in_flight) == bool(previous.in_flight)
        self._looks = self._looks + 1 if same else 1
        if self._others(load, ours, previous):
            self._seen = ours.now
        self._measure(load, before, ours)
        if load.firsts != before.firsts or not self._visited:
            self._served = ours.now
        nobody = ours.now - self._seen > self._quiet or ours.now - self._served > _STANDSTILL
        if nobody:
            self._visited, self._owed = False, 0.0
            self.limit = _grown(self.limit)
        elif not self._visited:
            self._visited = True
            self._arrived()
        else:
            self._pay(ours, ours.now - previous.now)
            self._decide(ours)

    def _others(self, load: Load, ours: Ours, previous: Ours) -> bool:
        """Whether requests that are not ours are there, or were since the last look."""
        assert load.firsts is not None and load.running is not None
        certain = load.firsts - ours.asked  # too small by ours that have no first token yet
        idle = not ours.in_flight and not previous.in_flight
        counted, self._counted = self._counted, certain if idle else max(self._counted, certain)
        # A page may be a second old, and have rows of ours that are finished now.
        most = max(ours.in_flight, previous.in_flight)
        return certain > counted or load.running + load.waiting > most

    def _measure(self, load: Load, before: Load, ours: Ours) -> None:
        assert load.firsts is not None and before.firsts is not None
        if self._looks <= _SETTLED:
            return
        count, total = load.firsts - before.firsts, load.first_seconds - before.first_seconds
        if ours.in_flight:
            self._beside.add(count, total)
        elif count:
            self._alone.add(count, total)
            self._measured = ours.now

    def _arrived(self) -> None:
        """Others have come: stop, unless it is known that we do not slow them down."""
        self._quiet = self.chance.uniform(*_QUIET)
        if not self._harmless or self._old:
            self.limit = 0
        self._beside = _Mean()

    @property
    def _old(self) -> bool:
        return not self._alone.known or self._ours.now - self._measured > _STALE

    def _pay(self, ours: Ours, seconds: float) -> None:
        """Keep account of the time in which we delay others."""
        if not ours.in_flight:
            self._owed = max(0.0, self._owed - seconds) if self._harmless is False else 0.0
        elif not self._harmless:
            self._owed += seconds * (1 / _SHARE - 1)

    def _decide(self, ours: Ours) -> None:
        if not self.limit:
            if self._alone.known and not ours.in_flight and not self._owed:
                self.limit, self._beside = 1, _Mean()
        elif self._old and self._harmless:
            self.limit, self._harmless, self._alone = 0, None, _Mean()
        elif self._beside.known:
            alone = self._alone.value
            self._judge(self._beside.value / alone if alone else 1.0, ours.held)
            self._beside = _Mean()

    def _judge(self, ratio: float, calls: int) -> None:
        """Compare the means. The excess is taken to be proportional to our calls."""
        room = self.slowdown - 1
        self._harmless = ratio - 1 <= room
        if ratio - 1 <= room / 2:
            self.limit = _grown(self.limit)
        elif not self._harmless:
            self.limit = int(min(self.limit, calls) * room / (ratio - 1))
            self._harmless = self.limit > 0


def _grown(limit: int) -> int:
    """Grow slowly: the prompts of many new rows delay a step together."""
    return min(1 << 20, limit + max(1, limit // 4))

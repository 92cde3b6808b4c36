"""When a call is made again, and when the whole job stops instead."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

_LONGEST_TOLD = 3600.0  # seconds; a server may name any time, and nobody would notice the wait


@dataclass(frozen=True, slots=True)
class Policy:
    """How often and how long to try.

    Attributes:
        attempts: Calls for an item before it has an error.
        base: Seconds; the first pause is up to this, and each next one up to twice as long.
        longest: Seconds of the longest pause without Retry-After.
        patience: Seconds without any answer after which the job stops: how long a target may be
            away.
        failing: Share of the last calls that may fail before the job stops; 1 never stops it.
        window: How many calls are the last ones.
    """

    attempts: int = 5
    base: float = 0.5
    longest: float = 30.0
    patience: float = 900.0
    failing: float = 0.5
    window: int = 200

    def pause(self, tried: int, retry_after: float | None, chance: random.Random) -> float:
        """Return the seconds before the next attempt, after ``tried`` ones.

        Full jitter: anything between nothing and the limit, so that calls that failed together do
        not come back together (https://aws.amazon.com/blogs/architecture/
        exponential-backoff-and-jitter/). Retry-After is the least, up to an hour; jitter comes on
        top.
        """
        limit = min(self.longest, self.base * 2.0 ** min(tried, 30))
        return min(retry_after or 0.0, _LONGEST_TOLD) + chance.uniform(0, limit)


_ENOUGH = 50  # calls to judge by


@dataclass(slots=True)
class Budget:
    """The last calls, and whether too many of them failed."""

    policy: Policy
    _calls: deque[bool] = field(default_factory=deque)
    _failed: int = 0

    def add(self, *, failed: bool) -> None:
        """Count a call."""
        self._calls.append(failed)
        self._failed += failed
        if len(self._calls) > self.policy.window:
            self._failed -= self._calls.popleft()

    @property
    def spent(self) -> bool:
        """Whether the job is to stop."""
        enough = len(self._calls) >= min(_ENOUGH, self.policy.window)
        return enough and self._failed > self.policy.failing * len(self._calls)

    @property
    def counted(self) -> str:
        """The failed calls, for people."""
        return f"{self._failed} of the last {len(self._calls)} calls"

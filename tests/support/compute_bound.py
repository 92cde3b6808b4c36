"""An engine that computes step by step, in a simulation without clocks or threads.

A step takes ``step`` seconds, more for each request in it, and more for each prompt that begins in
it: by these figures it is a CPU, whose steps every request lengthens, or a GPU with room.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from trtbuild_batch.engine import Load, Metered, Ours

_PAGE = 0.5  # seconds between two states of the metrics page
_LOOK = 1.0  # seconds between two looks at it


@dataclass
class Request:
    """``tokens`` are still to come; ``user`` is who asks; -1 and below: a job's row."""

    tokens: int
    began: float
    user: int = -1


@dataclass
class Engine:
    """An engine, users who ask again after a pause, and perhaps jobs. Times are in seconds.

    Args:
        pauses: The longest pause of each user.
        limiters: Those of jobs.
        tokens: Of an answer to a row; users get eight.
        away: When users do not ask.
    """

    pauses: Sequence[float]
    limiters: Sequence[Metered] = ()
    step: float = 0.05
    row: float = 0.005
    prompt: float = 0.06
    slots: int = 16
    tokens: int = 64
    away: tuple[float, float] = (0.0, 0.0)
    now: float = 0.0
    rows: int = 0
    limits: list[int] = field(default_factory=list)
    firsts: list[tuple[float, float]] = field(default_factory=list)
    """When users asked, and how long the first token took."""

    def __post_init__(self) -> None:
        self._chance = random.Random(1)
        self._next = [self._chance.uniform(0, pause) for pause in self.pauses]
        self._running: list[Request] = []
        self._waiting: list[Request] = []
        self._asked = [0] * len(self.limiters)
        self._count, self._sum = 0, 0.0
        self._page = Load(0, 0, 0.0, 0, 0.0)
        self._written = self._looked = -1.0

    def run(self, until: float) -> None:
        """Compute until that time."""
        while self.now < until:
            self._ask()
            self._tell()
            self._step()

    def _ours(self, job: int) -> int:
        return sum(one.user == -1 - job for one in (*self._running, *self._waiting))

    def _tell(self) -> None:
        if self.now - self._written >= _PAGE:
            self._written = self.now
            waiting = max(0, len(self._waiting) + len(self._running) - self.slots)
            self._page = Load(waiting, len(self._running), 0.0, self._count, self._sum)
        if self.now - self._looked >= _LOOK:
            self._looked = self.now
            for job, limiter in enumerate(self.limiters):
                limiter.observe(self._page, Ours(self._ours(job), self._asked[job], self.now))
            self.limits.append(sum(one.limit for one in self.limiters))

    def _ask(self) -> None:
        for user, when in enumerate(self._next):
            if when <= self.now and not self.away[0] <= self.now < self.away[1]:
                self._waiting.append(Request(8, when, user))
                self._next[user] = float("inf")
        for job, limiter in enumerate(self.limiters):
            for _ in range(limiter.limit - self._ours(job)):
                self._waiting.append(Request(self.tokens, self.now, -1 - job))
                self._asked[job] += 1

    def _step(self) -> None:
        new = self._waiting[: self.slots - len(self._running)]
        del self._waiting[: len(new)]
        self._running += new
        if not self._running:
            self.now += 0.01
            return
        self.now += self.step + self.row * len(self._running) + self.prompt * len(new)
        for one in new:
            self._count += 1
            self._sum += self.now - one.began
            if one.user >= 0:
                self.firsts.append((one.began, self.now - one.began))
        for one in self._running:
            one.tokens -= 1
            if not one.tokens and one.user < 0:
                self.rows += 1
            elif not one.tokens:
                pause = self._chance.uniform(0, self.pauses[one.user])
                self._next[one.user] = self.now + pause
        self._running = [one for one in self._running if one.tokens]

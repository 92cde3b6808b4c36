"""A circuit breaker: no requests for a server whose last answers failed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Literal

from trtbuild_gateway.routing_settings import BreakerSettings

State = Literal["closed", "half-open", "open"]
_LONGEST_SECONDS = 60.0


class Breaker:
    """Judges a server by how its last answers ended.

    It opens when the last ``failures`` answers failed, or ``share`` of the last ``window``. After
    ``seconds`` it is half-open: one request may try, and its first token closes the breaker. Each
    try that fails doubles the time, up to a minute.
    """

    def __init__(
        self, settings: BreakerSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.silent = False
        """Whether the last failure was a missing answer and not one with an error."""
        self.reason = ""
        self.settings = settings
        self._clock = clock
        self._failed: deque[bool] = deque(maxlen=settings.window)
        self._until: float | None = None
        self._seconds = settings.seconds
        self._trying = False

    @property
    def state(self) -> State:
        """What the breaker lets through."""
        if self._until is None:
            return "closed"
        return "open" if self.remaining else "half-open"

    @property
    def remaining(self) -> float:
        """Seconds until a request may try again; 0 if one may now."""
        return 0.0 if self._until is None else max(0.0, self._until - self._clock())

    @property
    def allows(self) -> bool:
        """Whether a request may be sent."""
        return self._until is None or (not self._trying and not self.remaining)

    def begin(self) -> bool:
        """Note that a request is sent; return whether it is a trial."""
        trial = self._until is not None and not self._trying and not self.remaining
        self._trying = self._trying or trial
        return trial

    def answered(self, *, trial: bool) -> None:
        """Note the first token of a request: a trial has succeeded."""
        if trial and self._trying:
            self._close()

    def succeeded(self, *, trial: bool) -> None:
        """Note a complete answer."""
        self.answered(trial=trial)
        self._failed.append(False)

    def failed(self, reason: str, *, silent: bool, trial: bool) -> None:
        """Note a failed answer, or none."""
        self.reason, self.silent = reason, silent
        if trial and self._trying:
            self._trying = False
            self._seconds = min(_LONGEST_SECONDS, self._seconds * 2)
            self._until = self._clock() + self._seconds
            return
        self._failed.append(True)
        if self._until is None and self._broken():
            self._until = self._clock() + self._seconds

    def dropped(self, *, trial: bool) -> None:
        """Note a request that says nothing about the server: its client left, or it was wrong."""
        if trial:
            self._trying = False

    def _broken(self) -> bool:
        recent = list(self._failed)[-self.settings.failures :]
        if len(recent) == self.settings.failures and all(recent):
            return True
        full = len(self._failed) == self.settings.window
        return full and sum(self._failed) >= self.settings.share * self.settings.window

    def _close(self) -> None:
        self._until, self._trying = None, False
        self._seconds = self.settings.seconds
        self._failed.clear()

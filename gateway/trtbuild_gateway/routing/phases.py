"""Time limits of one attempt: the first token, the time between tokens, and the whole answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from trtbuild_gateway.failures import PhaseError


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for each phase; infinite for none."""

    first: float
    between: float
    whole: float


class Clock:
    """Watches one attempt.

    A timer for each token would cost more than the token: one timer looks when the limit of the
    last look has passed, and sets itself again.

    Args:
        limits: Seconds for each phase.
        ends: When the whole answer must be complete, by the event loop's time.
    """

    __slots__ = (
        "_began", "_ends", "_error", "_limits", "_loop", "_scope", "_timer", "blocked", "last",
    )  # fmt: skip

    def __init__(self, limits: Limits, ends: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._ends = ends
        self._began = self._loop.time()
        self._scope = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None
        self._error: PhaseError | None = None
        self.last = 0.0
        """When the last token came; 0.0 before the first."""
        self.blocked = False
        """Whether the client is slow: nothing is read from the server meanwhile."""

    async def __aenter__(self) -> None:
        await self._scope.__aenter__()
        self._look()

    async def __aexit__(self, *raised: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        try:
            await self._scope.__aexit__(*raised)  # type: ignore[arg-type]
        except TimeoutError:
            if self._error is None:
                raise
            raise self._error from None

    def begin(self) -> None:
        """Note the first token: the next limit may be nearer than its own."""
        if self._timer is not None:
            self._timer.cancel()
        self._look()

    def _look(self) -> None:
        now = self._loop.time()
        due, error = self._next(now)
        if now >= due:
            self._error = error
            self._scope.reschedule(now)
        else:
            self._timer = self._loop.call_at(due, self._look)

    def _next(self, now: float) -> tuple[float, PhaseError]:
        """Return the limit that comes first, and the error of missing it."""
        limits = self._limits
        if self.blocked:
            silence = now + limits.between, PhaseError.between(limits.between)
        elif self.last:
            silence = self.last + limits.between, PhaseError.between(limits.between)
        else:
            silence = self._began + limits.first, PhaseError.first(limits.first)
        return min(silence, (self._ends, PhaseError.whole(limits.whole)), key=lambda one: one[0])

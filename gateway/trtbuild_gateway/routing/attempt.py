"""One attempt at an answer by one server, and what its end says about the server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from trtbuild.errors import ServerError
from trtbuild.signature.requests import Chunk
from trtbuild.wire.failures import DroppedError, RefusedError, WireError
from trtbuild_gateway.failures import ApiError, of_exception
from trtbuild_gateway.routing.phases import Clock
from trtbuild_gateway.routing.server import Server
from trtbuild_gateway.seams import Take

_Answer = TypeVar("_Answer")
_ELSEWHERE = (502, 503, 504)


class Attempt:
    """Watches what one server sends.

    Args:
        server: The server.
        take: Gets the chunks.
        clock: Is told of each token.
    """

    # Every token passes here, of thousands of streams in turn: what is small stays in the cache.
    __slots__ = ("_reason", "_server", "_take", "_time", "_trial", "begun", "clock")

    def __init__(self, server: Server, take: Take, clock: Clock) -> None:
        self.begun = False
        """Whether anything has been passed on: nothing can be retried then."""
        self._server = server
        self._take = take
        self.clock = clock
        self._time = asyncio.get_running_loop().time
        self._trial = server.breaker.begin()
        self._reason = ""

    def take(self, chunks: Sequence[Chunk]) -> Awaitable[None] | None:
        """Pass chunks on."""
        self.clock.last = self._time()
        self._reason = chunks[-1].finish_reason or self._reason
        if not self.begun:
            self.begun = True
            self.clock.begin()
            self._server.breaker.answered(trial=self._trial)
        waiting = self._take(chunks)
        return None if waiting is None else self._slowly(waiting)

    async def _slowly(self, waiting: Awaitable[None]) -> None:
        """Wait for a slow client: the server's silence is not its own meanwhile."""
        self.clock.blocked = True
        try:
            await waiting
        finally:
            self.clock.blocked = False
            self.clock.last = self._time()

    async def run(self, work: Awaitable[_Answer]) -> _Answer:
        """Return the server's answer, and note how it ended.

        Raises:
            WireError, TrtbuildError: As the server's backend.
        """
        breaker = self._server.breaker
        try:
            async with self.clock:
                answer = await work
        except (WireError, ServerError) as error:
            self._failed(error)
            raise
        except BaseException:  # the client left, or the request cannot be sent
            breaker.dropped(trial=self._trial)
            raise
        if self._cut():
            self._failed(DroppedError("it ended without a reason", answered=True))
        else:
            breaker.succeeded(trial=self._trial)
        return answer

    def _cut(self) -> bool:
        """Whether an answer of a model that says why it ends did not."""
        return self.begun and self._server.reports_reason and not self._reason

    def _failed(self, error: WireError | ServerError) -> None:
        answer = of_exception(error)
        breaker = self._server.breaker
        if answer.status < 500 or answer.code == "overloaded":
            breaker.dropped(trial=self._trial)
            return
        self._server.errors[answer.code or str(answer.status)] += 1
        silent = not isinstance(error, RefusedError)
        breaker.failed(answer.message, silent=silent, trial=self._trial)


def may_go_elsewhere(answer: ApiError) -> bool:
    """Whether another server or model may have the answer that this one does not."""
    if answer.code == "upstream_timeout":  # there is no time left
        return False
    return answer.status in _ELSEWHERE or answer.code == "model_not_found"

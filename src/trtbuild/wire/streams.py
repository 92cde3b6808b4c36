"""The events of one HTTP response as an async iterator, with a timeout and back pressure."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

from trtbuild.wire.connections import Connection, stale
from trtbuild.wire.failures import DeadlineError, DroppedError, UnreachableError
from trtbuild.wire.pool import Pool
from trtbuild.wire.response import LIMIT, Response

_MOST = 256  # buffered events above which the server has to wait
_FEWEST = 64  # buffered events below which it continues


class EventStream:
    """An async iterator over the data of each server-sent event.

    Leaving it early closes the connection, which cancels the request on a Triton server. A slow
    reader makes the server wait.

    Args:
        pool: The pool of the connection.
        request: The result of :meth:`Pool.request`.
        seconds: Timeout for the whole answer; None: no limit.
        limit: Maximum bytes of one event.

    Raises:
        WireError: From the iterator; see :mod:`trtbuild.wire.failures`.
    """

    def __init__(
        self, pool: Pool, request: bytes, *, seconds: float | None = None, limit: int = LIMIT
    ) -> None:
        self.response: Response | None = None
        """The response, once the iterator has ended: its status says whether it was an answer."""
        self._pool = pool
        self._request = request
        self._seconds = seconds
        self._limit = limit
        self._events: deque[bytes] = deque()
        self._connection: Connection | None = None
        self._done: asyncio.Future[Response] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._late = False
        self._paused = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._events:
            if self._done is None:
                await self._start()
            elif self._done.done():
                await self._end(self._done)
            else:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
        if self._paused and len(self._events) <= _FEWEST:
            self._pause(False)
        return self._events.popleft()

    async def batch(self) -> list[bytes]:
        """Return every event that has arrived, at least one; empty at the end of the stream."""
        try:
            first = await self.__anext__()
        except StopAsyncIteration:
            return []
        batch = [first, *self._events]
        self._events.clear()
        if self._paused:
            self._pause(False)
        return batch

    async def aclose(self) -> None:
        """Give the connection back, or close it if the answer has not ended."""
        if self._timer is not None:
            self._timer.cancel()
        if self._connection is not None:
            connection = self._connection
            if self._done is None or not self._done.done():
                connection.close()
            else:
                self._done.exception()  # already reported, or no longer relevant
            if self._paused:
                self._pause(False)  # the next request needs to read
            self._connection = None
            self._pool.give(connection)

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        if self._seconds is not None and self._timer is None:
            self._timer = loop.call_later(self._seconds, self._expire)
        try:
            async with asyncio.timeout(self._seconds):
                self._connection = await self._pool.take()
        except TimeoutError:
            raise late(self._seconds) from None
        except OSError as error:
            raise unreachable(error) from error
        if self._late:
            raise late(self._seconds)
        self._done = self._connection.begin(self._request, self._event, self._limit)
        self._done.add_done_callback(self._wake)

    async def _end(self, done: asyncio.Future[Response]) -> None:
        """Raise StopAsyncIteration or the failure, or start again."""
        error = done.exception()
        if error is None:
            self.response = done.result()
            await self.aclose()
            raise StopAsyncIteration
        connection = self._connection
        await self.aclose()
        if self._late:
            raise late(self._seconds)
        if isinstance(error, DroppedError) and connection and stale(connection, error):
            self._done = None
            return
        raise error

    def _event(self, _now: float, event: bytes) -> None:
        self._events.append(event)
        if len(self._events) == 1:
            self._wake()
        elif len(self._events) >= _MOST and not self._paused:
            self._pause(True)

    def _pause(self, paused: bool) -> None:
        self._paused = paused
        if self._connection is not None:
            self._connection.pause(paused)

    def _expire(self) -> None:
        """Handle the timeout; events that came before it can still be read."""
        self._late = True
        if self._connection is not None and self._done is not None and not self._done.done():
            self._connection.close()
            self._done.set_exception(late(self._seconds))

    def _wake(self, _: object = None) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


def late(seconds: float | None) -> DeadlineError:
    """Return the error of a timeout of so many seconds."""
    return DeadlineError(f"no complete answer within {seconds:g} s")


def unreachable(error: OSError) -> UnreachableError:
    """Return the error of a failed connection."""
    return UnreachableError(error.strerror or str(error) or type(error).__name__)

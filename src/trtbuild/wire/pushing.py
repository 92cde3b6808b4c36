"""The events of one HTTP response, given to a function in the moment in which they arrive.

For relays: an iterator (:mod:`trtbuild.wire.streams`) costs a turn of the event loop for each
packet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from trtbuild.wire.connections import Connection, OnRaw, stale
from trtbuild.wire.failures import DroppedError
from trtbuild.wire.pool import Pool
from trtbuild.wire.response import LIMIT, Response
from trtbuild.wire.streams import late, unreachable

OnBatch = Callable[[list[bytes]], Awaitable[None] | None]
"""Takes all events of a packet. Whatever it returns is awaited before it is called again, and
nothing more is read meanwhile."""


class _Pusher:
    """Gives the events of each packet to ``on_batch``, one call at a time."""

    def __init__(self, connection: Connection, on_batch: OnBatch) -> None:
        self.begun = False
        self._connection = connection
        self._on_batch = on_batch
        self._events: list[bytes] = []
        self._busy: asyncio.Task[None] | None = None
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def event(self, _now: float, event: bytes) -> None:
        """Keep an event until its packet ends."""
        self._events.append(event)

    def packet(self) -> bool:
        """Pass the events on, unless the last ones are still being taken; whether all have been."""
        if self._events and self._busy is None:
            self._give()
        return self._busy is None and not self.failure.done()

    def _give(self) -> None:
        self.begun = True
        events, self._events = self._events, []
        try:
            waiting = self._on_batch(events)
        except Exception as error:
            self._fail(error)
            return
        if waiting is not None:
            self._connection.pause(True)
            self._busy = asyncio.ensure_future(self._wait(waiting))

    async def _wait(self, waiting: Awaitable[None]) -> None:
        try:
            await waiting
        except Exception as error:
            self._fail(error)
            return
        finally:
            self._busy = None
        self._connection.pause(False)
        self.packet()

    def _fail(self, error: Exception) -> None:
        if not self.failure.done():
            self.failure.set_exception(error)

    async def drained(self) -> None:
        """Wait until everything has been taken."""
        while self._busy is not None:
            await asyncio.wait((self._busy,))

    def stop(self) -> None:
        """Take nothing more."""
        if self._busy is not None:
            self._busy.cancel()
        self.failure.cancel()


async def push_events(
    pool: Pool,
    request: bytes,
    on_batch: OnBatch,
    *,
    on_raw: OnRaw | None = None,
    seconds: float | None = None,
    limit: int = LIMIT,
) -> Response:
    """Send a request, give each packet's events to ``on_batch``, and return the response at its
    end.

    Cancelling it closes the connection, which cancels the request on a Triton server.

    Args:
        pool: The pool of the connection.
        request: The result of :meth:`Pool.request`.
        on_batch: See :data:`OnBatch`; an exception of it ends the request and is raised here.
        on_raw: Gets packets that begin between two events before they are parsed; of those that it
            takes, ``on_batch`` gets nothing.
        seconds: Timeout for the whole answer; None: no limit.
        limit: Maximum bytes of one event.

    Raises:
        WireError: See :mod:`trtbuild.wire.failures`.
    """
    try:
        async with asyncio.timeout(seconds):
            while True:
                response = await _push_once(pool, request, on_batch, on_raw, limit)
                if response is not None:
                    return response
    except TimeoutError:
        raise late(seconds) from None


async def _push_once(
    pool: Pool, request: bytes, on_batch: OnBatch, on_raw: OnRaw | None, limit: int
) -> Response | None:
    """None if an idle connection was closed before it could be used again."""
    try:
        connection = await pool.take()
    except OSError as error:
        raise unreachable(error) from error
    pusher = _Pusher(connection, on_batch)
    done = connection.begin(request, pusher.event, limit, pusher.packet, on_raw)
    try:
        await asyncio.wait((done, pusher.failure), return_when=asyncio.FIRST_COMPLETED)
        if pusher.failure.done():
            pusher.failure.result()
        await pusher.drained()
        if pusher.failure.done():
            pusher.failure.result()
        return done.result()
    except DroppedError as lost:
        if stale(connection, lost) and not pusher.begun:
            return None
        raise
    finally:
        if not done.done():
            connection.close()
        pusher.stop()
        pool.give(connection)

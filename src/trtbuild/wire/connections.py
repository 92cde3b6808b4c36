"""HTTP/1.1 with server-sent events, directly on asyncio: one connection.

A general-purpose client takes longer for an event than a server for a token (docs/adr/0095). The
clock is read once per event, before parsing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

from trtbuild.wire.failures import DroppedError
from trtbuild.wire.response import LIMIT, Event, Parser, Response

_REFUSAL_SECONDS = 2.0  # for the rest of an error's body

OnRaw = Callable[[bytes], bool]
"""Takes a packet before it is parsed; returns whether it has."""


class Connection(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self) -> None:
        self.usable = True
        self.reused = False
        self._transport: asyncio.Transport | None = None
        self._parser: Parser | None = None
        self._done: asyncio.Future[Response] | None = None
        self._on_packet: Callable[[], bool] | None = None
        self._on_raw: OnRaw | None = None
        self._raw: OnRaw | None = None  # ``_on_raw`` while it may be called

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        # Another loop's transports, such as uvloop's, are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        try:
            if self._raw is not None and self._raw(data):
                return
            now = time.perf_counter()
            if (parser := self._parser) is None:
                self.usable = False
                return
            complete = parser.feed(now, data)
            free = self._on_packet is None or self._on_packet()
            if complete:
                self._settle(parser.response)
            elif parser.response.status >= 400:
                asyncio.get_running_loop().call_later(_REFUSAL_SECONDS, self._cut, parser)
            elif self._on_raw is not None:
                self._raw = self._on_raw if free and parser.between_events else None
        except Exception as error:  # what came is malformed, or whoever takes it fails
            self.usable = False
            self._settle(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self.usable = False
        if self._parser is not None:
            complete = exc is None and self._parser.finish(time.perf_counter())
            if self._on_packet is not None:
                self._on_packet()
            if self._parser is not None:
                lost = DroppedError(str(exc or "closed"), answered=self._parser.begun)
                self._settle(self._parser.response if complete else lost)

    def _cut(self, parser: Parser) -> None:
        """End an error whose body has no end: some servers keep the connection open."""
        if self._parser is parser:
            parser.cut(time.perf_counter())
            self._settle(parser.response)

    def _settle(self, outcome: Response | Exception) -> None:
        if self._parser is not None:
            self.usable = self.usable and self._parser.keep_alive
        self._forget()
        if self._done is not None and not self._done.done():
            if isinstance(outcome, Exception):
                self._done.set_exception(outcome)
            else:
                self._done.set_result(outcome)

    def _forget(self) -> None:
        """Drop what belongs to one request: an idle connection must not keep its client's."""
        self._parser = self._raw = self._on_raw = self._on_packet = None

    def begin(
        self,
        request: bytes,
        on_event: Event | None,
        limit: int = LIMIT,
        on_packet: Callable[[], bool] | None = None,
        on_raw: OnRaw | None = None,
    ) -> asyncio.Future[Response]:
        """Send ``request``; the future holds the response once it is complete.

        ``on_packet`` is called after the events of each packet, and returns whether all have been
        taken. ``on_raw`` gets the packets that come then, if they begin between two events.
        """
        assert self._transport is not None
        self._done = asyncio.get_running_loop().create_future()
        self._parser = Parser(on_event, limit)
        self._on_packet, self._on_raw = on_packet, on_raw
        self._transport.write(request)
        return self._done

    async def exchange(
        self, request: bytes, on_event: Event | None, limit: int = LIMIT
    ) -> Response:
        """Send ``request`` and wait for the whole response.

        Raises:
            DroppedError: The connection ended first.
            MalformedError: What came is not HTTP, or more than ``limit`` bytes of it.
        """
        try:
            return await self.begin(request, on_event, limit)
        except asyncio.CancelledError:
            self.close()  # the rest of the answer must not mix with the next one
            raise

    def pause(self, paused: bool) -> None:
        """Pause reading, so that the server has to wait, or resume."""
        if self._transport is None or self._transport.is_closing():
            return
        if paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def close(self) -> None:
        """Close it; the server notices the disconnect."""
        self.usable = False
        self._forget()
        if self._transport is not None:
            self._transport.abort()


def stale(connection: Connection, lost: DroppedError) -> bool:
    """Whether the request may be sent again, over another connection.

    A server may close an idle connection just as it is reused. If it has answered anything, it
    received the request and failed.
    """
    return connection.reused and not lost.answered

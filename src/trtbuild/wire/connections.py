"""HTTP/1.1 with server-sent events, straight on asyncio: what a load generator can afford.

A general client spends more on an event than a server spends on a token (docs/adr/0095). The
time of an event is read once, before anything is parsed.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from urllib.parse import SplitResult, quote, urlsplit

from trtbuild.wire.response import Event, Malformed, Parser, Response
from trtbuild.wire.sockets import connections_allowed

_PATH = "/%:@!$&'()*+,;=~"  # what of a path stands for itself (RFC 3986), escapes among it


class Dropped(Exception):  # noqa: N818 - what happened, not a fault of ours
    """The connection ended before the answer did; ``answered``: after its first byte."""

    def __init__(self, why: str, *, answered: bool) -> None:
        super().__init__(why)
        self.answered = answered


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.usable = True
        self.reused = False
        self._transport: asyncio.Transport | None = None
        self._parser: Parser | None = None
        self._done: asyncio.Future[Response] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        now = time.perf_counter()
        if self._parser is None:
            self.usable = False
            return
        try:
            if self._parser.feed(now, data):
                self._settle(self._parser.response)
        except Malformed as error:
            self.usable = False
            self._settle(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self.usable = False
        if self._parser is not None:
            complete = exc is None and self._parser.finish(time.perf_counter())
            lost = Dropped(str(exc or "closed"), answered=self._parser.begun)
            self._settle(self._parser.response if complete else lost)

    def _settle(self, outcome: Response | Exception) -> None:
        if self._parser is not None:
            self.usable = self.usable and self._parser.keep_alive
        self._parser = None
        if self._done is not None and not self._done.done():
            if isinstance(outcome, Exception):
                self._done.set_exception(outcome)
            else:
                self._done.set_result(outcome)

    async def exchange(self, request: bytes, on_event: Event) -> Response:
        """Send ``request`` and wait for the whole response.

        Raises:
            Dropped: The connection ended first.
            Malformed: What came is not HTTP.
        """
        assert self._transport is not None
        self._done = asyncio.get_running_loop().create_future()
        self._parser = Parser(on_event)
        self._transport.write(request)
        try:
            return await self._done
        except asyncio.CancelledError:
            self.close()  # the rest of the answer must not meet the next request
            raise

    def close(self) -> None:
        """End it; the server sees that nobody listens any more."""
        self.usable = False
        self._parser = None
        if self._transport is not None:
            self._transport.abort()


def host_of(parts: SplitResult) -> str:
    """The host as it is looked up and named in a request; ValueError when it cannot be one."""
    name = parts.hostname or "127.0.0.1"
    return name if name.isascii() and ".." not in name else name.encode("idna").decode("ascii")


class Pool:
    """Connections to one server, kept open between requests.

    Args:
        url: ``http://HOST:PORT`` or ``https://…``; a path is kept as a prefix, and what comes after
            a ``?`` goes behind each path.
        headers: Sent with each request.
        limit: Connections that may be open; who needs one more waits until one is given back.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str] | None = None, limit: int | None = None
    ) -> None:
        parts = urlsplit(url)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self.host = host_of(parts)
        self.port = parts.port or (443 if self._tls else 80)
        self._prefix = quote(parts.path.rstrip("/"), safe=_PATH)
        self._query = f"?{quote(parts.query, safe=_PATH + '?')}" if parts.query else ""
        name = f"[{self.host}]" if ":" in self.host else self.host
        self._host_header = f"{name}:{parts.port}" if parts.port else name
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self._idle: list[Connection] = []
        self._free = asyncio.Semaphore(limit or connections_allowed())

    @property
    def full(self) -> bool:
        """Whether :meth:`take` would have to wait."""
        return self._free.locked()

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """The bytes of a request."""
        head = (
            f"{method} {self._prefix}{path}{self._query} HTTP/1.1\r\nHost: {self._host_header}\r\n"
            f"{self._headers}Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode("latin-1") + body

    async def take(self) -> Connection:
        """An open connection, to be given back whatever became of it; OSError when nothing
        listens."""
        await self._free.acquire()
        try:
            return await self._open()
        except BaseException:
            self._free.release()
            raise

    async def _open(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                connection.reused = True
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            Connection, self.host, self.port, ssl=self._tls
        )
        return connection

    def give(self, connection: Connection) -> None:
        """Back into the pool, or closed where it cannot be used again."""
        if connection.usable:
            self._idle.append(connection)
        else:
            connection.close()
        self._free.release()

    async def fetch(self, method: str, path: str, body: bytes = b"") -> Response:
        """A request whose answer is no stream."""
        connection = await self.take()
        try:
            return await connection.exchange(self.request(method, path, body), _ignore)
        finally:
            self.give(connection)

    def close(self) -> None:
        """End every idle connection."""
        while self._idle:
            self._idle.pop().close()


def _ignore(_now: float, _event: bytes) -> None:
    """For answers that are no streams."""

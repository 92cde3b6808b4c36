"""Connections to one HTTP server, kept open between requests."""

from __future__ import annotations

import asyncio
import base64
import errno
import re
import ssl
from collections.abc import Mapping
from urllib.parse import SplitResult, quote, unquote, urlsplit

from trtbuild.wire.connections import Connection, stale
from trtbuild.wire.failures import DroppedError
from trtbuild.wire.response import LIMIT, Response
from trtbuild.wire.sockets import connections_allowed

_NAME = re.compile(r"[^\r\n\0:]+")
_BREAK = re.compile(r"[\r\n\0]")
_PATH = "/%:@!$&'()*+,;=~"  # path characters that need no escape (RFC 3986), and "%"


def host_of(parts: SplitResult) -> str:
    """Return the host for lookup and the request header; ValueError if it is invalid."""
    return (parts.hostname or "127.0.0.1").encode("idna").decode("ascii")


class Pool:
    """Connections to one server, kept open between requests.

    Args:
        url: ``http://HOST:PORT`` or ``https://…``; a path becomes a prefix, and a query is appended
            to each path. ``unix:PATH`` is a socket of this machine.
        headers: Sent with each request.
        limit: Maximum open connections; further requests wait until one is returned.
        tls: For ``https``; None: the certificates that this machine trusts.
        proxy: ``http://HOST:PORT`` of an HTTP proxy for ``http`` URLs; empty: none.
        connect_seconds: Timeout of opening a connection; None: no limit.

    Raises:
        ValueError: An invalid host or port, or a header with a line break.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        limit: int | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        proxy: str = "",
        connect_seconds: float | None = None,
    ) -> None:
        parts = urlsplit(url)
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._socket = parts.path if parts.scheme == "unix" else ""
        if self._socket:
            parts = urlsplit("http://localhost")
        self.host = host_of(parts)
        self.port = parts.port or (443 if self._tls else 80)
        self._prefix = quote(parts.path.rstrip("/"), safe=_PATH)
        self._query = f"?{quote(parts.query, safe=_PATH + '?')}" if parts.query else ""
        name = f"[{self.host}]" if ":" in self.host else self.host
        self._host_header = f"{name}:{parts.port}" if parts.port else name
        self._headers = dict(headers or {})
        if proxy and self._tls is None:
            self._through(urlsplit(proxy))
        self._common = _lines(self._headers)
        self._idle: list[Connection] = []
        self._free = asyncio.Semaphore(limit or connections_allowed())
        self._connect_seconds = connect_seconds
        self._closed = False

    def _through(self, proxy: SplitResult) -> None:
        """Connect to a proxy, which expects the full URL."""
        self._prefix = f"http://{self._host_header}{self._prefix}"
        self.host, self.port = host_of(proxy), proxy.port or 80
        if proxy.username is not None:
            login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
            token = base64.b64encode(login.encode("utf-8")).decode()
            self._headers["Proxy-Authorization"] = f"Basic {token}"

    @property
    def full(self) -> bool:
        """Whether :meth:`take` would have to wait."""
        return self._free.locked()

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Return the bytes of a request; ``Content-Type`` is JSON unless ``headers`` has another.

        Raises:
            ValueError: A header with a line break in it.
        """
        more = _lines({"Content-Type": "application/json", **(headers or {})})
        head = (
            f"{method} {self._prefix}{path}{self._query} HTTP/1.1\r\nHost: {self._host_header}\r\n"
            f"{self._common}{more}Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode("latin-1") + body

    async def take(self) -> Connection:
        """Return an open connection, which must be given back in any case; OSError if nothing
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
        try:
            async with asyncio.timeout(self._connect_seconds):
                connection = await self._connected()
        except TimeoutError as error:
            if error.errno is not None:  # the system's own, which says why
                raise
            raise TimeoutError(
                errno.ETIMEDOUT, f"no connection within {self._connect_seconds:g} s"
            ) from None
        return connection

    async def _connected(self) -> Connection:
        loop = asyncio.get_running_loop()
        if self._socket:
            return (await loop.create_unix_connection(Connection, self._socket))[1]
        opening = loop.create_connection(Connection, self.host, self.port, ssl=self._tls)
        return (await opening)[1]

    def give(self, connection: Connection) -> None:
        """Return a connection to the pool, or close it if it cannot be reused."""
        if connection.usable and not self._closed:
            self._idle.append(connection)
        else:
            connection.close()
        self._free.release()

    async def fetch(self, request: bytes, *, limit: int = LIMIT) -> Response:
        """Send a request of :meth:`request`; the body is kept whole, up to ``limit`` bytes.

        Raises:
            OSError: The connection failed.
            DroppedError, MalformedError: See :meth:`Connection.exchange`.
        """
        while True:
            connection = await self.take()
            try:
                return await connection.exchange(request, None, limit)
            except DroppedError as lost:
                if not stale(connection, lost):
                    raise
            finally:
                self.give(connection)

    def close(self) -> None:
        """Close every connection, those in use when they are given back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()


def _lines(headers: Mapping[str, str]) -> str:
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or _BREAK.search(value):
            raise ValueError(f"not an HTTP header: {name!r}")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())

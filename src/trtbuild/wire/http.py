"""An HTTP server asked for whole answers and for streams of events."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Self

from trtbuild.wire.connections import OnRaw
from trtbuild.wire.direct import proxy_for
from trtbuild.wire.failures import UNREADABLE, MalformedError, RefusedError
from trtbuild.wire.pool import Pool
from trtbuild.wire.pushing import OnBatch, push_events
from trtbuild.wire.response import LIMIT, Response
from trtbuild.wire.streams import EventStream, late, unreachable
from trtbuild.wire.tls import Tls


class HttpEndpoint:
    """A server's HTTP endpoint. Every method belongs to the event loop of the first call.

    Args:
        url: ``HOST:PORT``, or ``http://…`` or ``https://…`` with an optional path prefix, or
            ``unix:PATH``.
        headers: Sent with each request.
        tls: For ``https://``.
        seconds: Default timeout of a whole call.
        limit: Maximum bytes of a body or of one event.
        connections: Maximum open connections; further calls wait. None: the process's limit.
        connect_seconds: Timeout of opening a connection; None: the call's.
        environment: Use the environment's ``HTTP_PROXY``, except for a server on this machine.

    Raises:
        WireError: From every method; see the classes of :mod:`trtbuild.wire.failures` for what
            happened.
        ValueError: From the constructor: ``url`` is not a URL.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        tls: Tls | None = None,
        seconds: float = 60,
        limit: int = LIMIT,
        connections: int | None = None,
        connect_seconds: float | None = None,
        environment: bool = True,
    ) -> None:
        local = url.startswith("unix:")
        self.url = url if local or "://" in url else f"http://{url}"
        self._seconds = seconds
        self._limit = limit
        context = tls.context() if tls and self.url.startswith("https:") else None
        proxy = proxy_for(self.url.split("://", 1)[1]) if environment and not local else ""
        self._pool = Pool(
            self.url,
            headers,
            connections,
            tls=context,
            proxy=proxy,
            connect_seconds=connect_seconds,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the idle connections: an open one delays a server's exit."""
        self._pool.close()

    async def events(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        seconds: float | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the unparsed data of each event of any event stream of the server."""
        request = self._pool.request(method, path, body, headers)
        whole = self._seconds if seconds is None else seconds
        async with EventStream(self._pool, request, seconds=whole, limit=self._limit) as stream:
            while batch := await stream.batch():
                for event in batch:
                    yield event
            response = stream.response
        if response is not None:
            _require_events(response)

    async def push_events(
        self,
        method: str,
        path: str,
        on_batch: OnBatch,
        *,
        on_raw: OnRaw | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> None:
        """Give all events of a packet to ``on_batch`` at once, without a turn of the event loop;
        see :func:`~trtbuild.wire.pushing.push_events`.

        Returns at the end of the stream; cancelling it cancels the request on the server.
        """
        request = self._pool.request(method, path, body, headers)
        whole = self._seconds if seconds is None else seconds
        response = await push_events(
            self._pool, request, on_batch, on_raw=on_raw, seconds=whole, limit=self._limit
        )
        _require_events(response)

    async def fetch(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        seconds: float | None = None,
    ) -> Response:
        """Send any request, whatever the response's status; the path begins with ``/``."""
        request = self._pool.request(method, path, body, headers)
        whole = self._seconds if seconds is None else seconds
        try:
            async with asyncio.timeout(whole):
                return await self._pool.fetch(request, limit=self._limit)
        except TimeoutError:
            raise late(whole) from None
        except OSError as error:
            raise unreachable(error) from error


def accepted(response: Response) -> Response:
    """Return a response whose status is success; RefusedError for any other."""
    if not response.good:
        raise refusal(response)
    return response


def _require_events(response: Response) -> None:
    if not accepted(response).events:
        raise MalformedError(f"not an event stream: {response.body[:200]!r}")


def refusal(response: Response) -> RefusedError:
    """Return the error in a response whose status is not success, with the server's message."""
    text = response.body.decode("utf-8", "replace").strip()
    message = text or f"HTTP status {response.status}"
    if response.location:
        message = f"it sends requests on to {response.location}"
    with contextlib.suppress(*UNREADABLE):
        # /generate_stream also sends errors as an event.
        message = str(json.loads(text.removeprefix("data:"))["error"])
    return RefusedError(message, status=response.status, headers=response.headers)

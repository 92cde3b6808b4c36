"""HTTP/1.1 with server-sent events on a Unix socket, for one client that is known: the gateway.

A web framework would be a requirement that every adapter's environment has to agree with.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

_HEAD_LIMIT = 64 * 1024
_OVER = (ConnectionError, asyncio.IncompleteReadError)
_BODY_LIMIT = 256 * 1024 * 1024
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 413: "Content Too Large"}


class HttpError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Request:
    """A request, read completely."""

    method: str
    path: str
    body: bytes

    def json(self) -> dict[str, Any]:
        """Return the body; HttpError 400 unless it is a JSON object."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            raise HttpError(400, "the body is not JSON") from None
        if not isinstance(value, dict):
            raise HttpError(400, "the body is not a JSON object")
        return value


Events = AsyncIterator[Mapping[str, Any]]
Answer = Mapping[str, Any] | Events
Handle = Callable[[Request], Awaitable[Answer]]


class _Protocol(asyncio.StreamReaderProtocol):
    """Tells when the client has left, also while nothing is read."""

    def __init__(self, connected: Callable[[_Connection], Awaitable[None]]) -> None:
        reader = asyncio.StreamReader(limit=_HEAD_LIMIT)
        self.left = asyncio.Event()

        async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await connected(_Connection(reader, writer, self.left))

        super().__init__(reader, begin)

    def eof_received(self) -> bool:
        self.left.set()
        return bool(super().eof_received())

    def connection_lost(self, exc: Exception | None) -> None:
        self.left.set()
        super().connection_lost(exc)


@dataclass(frozen=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    left: asyncio.Event


async def serve(path: str, handle: Handle) -> asyncio.Server:
    """Listen on a Unix socket; every request is given to ``handle``.

    A client that leaves cancels what ``handle`` does, and closes the events that it returned.
    """

    async def connected(connection: _Connection) -> None:
        try:
            # Only the end of the loop cancels a connection, and asyncio would log that.
            with contextlib.suppress(*_OVER, asyncio.CancelledError):
                while (request := await _read(connection.reader)) is not None:
                    await _answer_while_connected(handle, request, connection)
        finally:
            connection.writer.close()

    return await asyncio.get_running_loop().create_unix_server(lambda: _Protocol(connected), path)


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        method, path, _ = line.split(" ", 2)
        headers = {
            name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)
        }
        size = int(headers.get("content-length", 0))
    except (asyncio.LimitOverrunError, ValueError):  # not the gateway
        return None
    if size > _BODY_LIMIT:
        return None
    return Request(method, path, await reader.readexactly(size))


async def _answer_while_connected(
    handle: Handle, request: Request, connection: _Connection
) -> None:
    answering = asyncio.create_task(_answer(handle, request, connection.writer))
    leaving = asyncio.create_task(connection.left.wait())
    await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
    gone = not answering.done()
    for task in (answering, leaving):
        task.cancel()
    await asyncio.gather(answering, leaving, return_exceptions=True)
    if gone:
        raise ConnectionResetError
    answering.result()


async def _answer(handle: Handle, request: Request, writer: asyncio.StreamWriter) -> None:
    try:
        answer = await handle(request)
        if isinstance(answer, Mapping):
            _whole(writer, 200, answer)
        else:
            await _stream(writer, answer)
    except HttpError as error:
        _whole(writer, error.status, {"error": str(error)})
    await writer.drain()


def _whole(writer: asyncio.StreamWriter, status: int, value: Mapping[str, Any]) -> None:
    body = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    head = (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}\r\nContent-Type: application/json\r\n"
    )
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body)


async def _stream(writer: asyncio.StreamWriter, events: Events) -> None:
    """Send events as they come; the status waits for the first."""
    begun = False
    try:
        async for event in events:
            if not begun:
                begun = True
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n"
                )
            _event(writer, event)
            await writer.drain()
    except HttpError as error:
        if not begun:
            raise
        _event(writer, {"error": str(error)})
    finally:
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()
    if not begun:
        raise HttpError(500, "the backend sent no answer")
    writer.write(b"0\r\n\r\n")


def _event(writer: asyncio.StreamWriter, value: Mapping[str, Any]) -> None:
    data = b"data: " + json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n"
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))

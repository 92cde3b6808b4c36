"""One HTTP request and its answer: a body with limits, and a client that may leave at any time."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, BinaryIO, Protocol

import msgspec
from starlette.types import Message, Receive, Scope, Send

from trtbuild_gateway.failures import ApiError, invalid
from trtbuild_gateway.http.stepping import now_or_later

_EVENTS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
_LINGER_SECONDS = 5.0
_PIECE_BYTES = 1 << 18
_KEEP_ALIVE = b": keep-alive\n\n"

CLIENT = "trtbuild.client"
"""The ASGI extension whose ``connection`` is the :class:`Client`."""

Emit = Callable[[bytes], Awaitable[None] | None]
"""Sends a piece of a stream; what it returns must be awaited before the next."""

ErrorBody = Callable[[ApiError], dict[str, Any]]


class Writer(Protocol):
    """What :class:`Client` needs of asyncio's transport."""

    def write(self, data: bytes) -> None:
        """Send bytes without waiting."""


class Client(Protocol):
    """The connection of a client, for those who write chunks of a body past ASGI's ``send``.

    Attributes:
        transport: Takes the bytes.
        writable: Whether it is open and not slow.
    """

    transport: Writer
    writable: bool


class LeftError(Exception):
    """The client has closed the connection; whatever was computed for it ends."""


class Exchange:
    """A request that is being answered.

    Args:
        scope, receive, send: ASGI's.
        most_bytes: Of the body.
        seconds: For the client to send the body.

    Attributes:
        more_headers: Headers of the answer.
        error_body: Returns the form of an error.
        error_event: Returns the end of a stream that fails.
        begun: Whether the answer has begun.
        status: Of the answer.
        started: Whether the head of a stream has been sent.
        client: The client's connection; None if the server does not offer it.
        last_sent: The event loop's time at the last piece of a stream.
        spoken: Whether a stream has had more than heartbeats.
        given: The body that was read as JSON.
    """

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, *, most_bytes: int, seconds: float
    ) -> None:
        self.scope = scope
        self.headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        self.more_headers: dict[str, str] = {}
        self.error_body: ErrorBody = ApiError.body
        self.error_event: Callable[[ApiError], bytes] | None = None
        self.begun = False
        self.started = False
        self.client: Client | None = scope.get("extensions", {}).get(CLIENT, {}).get("connection")
        self.last_sent = 0.0
        self.status = 200
        self.spoken = False
        self.given: dict[str, Any] = {}
        self._time = asyncio.get_running_loop().time
        self._receive = receive
        self._send = send
        self._most_bytes = most_bytes
        self._seconds = seconds

    async def body(self) -> bytes:
        """Read the body; raises what :meth:`pieces` raises."""
        return b"".join([piece async for piece in self.pieces()])

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Yield the body as it arrives.

        Raises:
            ApiError: It is too large (413) or too slow (408).
            LeftError: The client left.
        """
        length = self.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._most_bytes:
            raise self._too_large()
        until = asyncio.get_running_loop().time() + self._seconds
        size, more = 0, True
        while more:
            message = await self._received(until)
            if message["type"] == "http.disconnect":
                raise LeftError
            piece, more = message.get("body", b""), message.get("more_body", False)
            size += len(piece)
            if size > self._most_bytes:
                raise self._too_large()
            yield piece

    async def _received(self, until: float) -> Message:
        try:
            async with asyncio.timeout_at(until):
                return await self._receive()
        except TimeoutError:
            raise ApiError(
                408, f"the request was not complete within {self._seconds:g} s", code="timeout"
            ) from None

    def _too_large(self) -> ApiError:
        message = f"the request is larger than {self._most_bytes:,} bytes"
        return ApiError(413, message, code="request_too_large", headers={"connection": "close"})

    async def json(self) -> dict[str, Any]:
        """Read the body as a JSON object without its null values.

        Raises:
            ApiError: It is not one.
            LeftError: The client left.
        """
        if self.given:  # another model is tried
            return dict(self.given)
        body = await self.body()
        try:
            value = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise invalid(f"the body is not valid JSON: {error}", code="invalid_json") from None
        if not isinstance(value, dict):
            raise invalid("the body must be a JSON object", code="invalid_json")
        self.given = {key: item for key, item in value.items() if item is not None}
        return dict(self.given)

    async def respond(
        self,
        content: bytes,
        status: int = 200,
        *,
        kind: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send a whole answer."""
        self.begun, self.status = True, status
        length = {"content-type": kind, "content-length": str(len(content))}
        pairs = _pairs({**length, **self.more_headers, **(headers or {})})
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})
        closes = headers is not None and headers.get("connection") == "close"
        await self._send({"type": "http.response.body", "body": content, "more_body": closes})
        if closes:
            await self._linger()
            await self._send({"type": "http.response.body", "body": b""})

    async def send_file(self, stream: BinaryIO, kind: str) -> None:
        """Send a file in pieces, so that its size does not matter.

        Raises:
            LeftError: The client left.
        """
        length = os.fstat(stream.fileno()).st_size
        self.begun = True
        headers = {"content-type": kind, "content-length": str(length), **self.more_headers}
        await self._send({"type": "http.response.start", "status": 200, "headers": _pairs(headers)})
        async with self.watched():
            while piece := await asyncio.to_thread(stream.read, _PIECE_BYTES):
                await self._piece(piece)
            await self._send({"type": "http.response.body", "body": b""})

    async def _linger(self) -> None:
        """Read on for a while: a client that is cut off while it sends never sees the answer."""
        if "expect" in self.headers:  # it waits for leave to send
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while (await self._receive()).get("more_body"):
                    pass

    async def fail(self, error: ApiError) -> None:
        """Send an error: as the answer, or as the last event of a stream that has begun."""
        if not self.begun:
            content = msgspec.json.encode(self.error_body(error))
            await self.respond(content, error.status, headers=error.headers)
        elif self.error_event is not None:
            await self._send({"type": "http.response.body", "body": self.error_event(error)})

    @contextlib.asynccontextmanager
    async def watched(self, heartbeat: float | None = None) -> AsyncIterator[None]:
        """Cancel the block as soon as the client leaves; LeftError then.

        Args:
            heartbeat: Seconds of silence after which a stream that has begun gets a comment.
        """
        task = asyncio.current_task()
        assert task is not None
        left = False

        async def watch() -> None:
            nonlocal left
            while not await self._gone(heartbeat):
                pass
            left = True
            task.cancel()

        watcher = asyncio.create_task(watch())
        try:
            yield
        except asyncio.CancelledError:
            if left and task.uncancel() == 0:
                raise LeftError from None
            raise
        finally:
            watcher.cancel()

    async def _gone(self, heartbeat: float | None) -> bool:
        """Wait until the client leaves, or send a heartbeat; whether it has left."""
        try:
            async with asyncio.timeout(heartbeat):
                message = await self._receive()
                return bool(message["type"] == "http.disconnect")
        except TimeoutError:
            assert heartbeat is not None
            if not self.begun:
                await self._start()
            if self._time() - self.last_sent >= heartbeat * 0.9:
                await self._piece(_KEEP_ALIVE)
            return False

    async def stream(self, produce: Callable[[Emit], Awaitable[None]], heartbeat: float) -> None:
        """Send what ``produce`` emits, with heartbeats between.

        The answer begins with the first piece or heartbeat: an error before it has a status.

        Raises:
            LeftError: The client left; ``produce`` has been cancelled.
        """
        async with self.watched(heartbeat):
            await produce(self._emit)
            if not self.begun:
                await self._start()
            await self._send({"type": "http.response.body", "body": b""})

    def _emit(self, piece: bytes) -> Awaitable[None] | None:
        """Send a piece now; return what to wait for if the client is slow."""
        self.spoken = True
        if self.begun:
            self.last_sent = self._time()
            return now_or_later(
                self._send({"type": "http.response.body", "body": piece, "more_body": True})
            )
        return now_or_later(self._begin_with(piece))

    async def _begin_with(self, piece: bytes) -> None:
        await self._start()
        await self._piece(piece)

    async def _start(self) -> None:
        self.begun = True
        headers = [*_EVENTS, *_pairs(self.more_headers)]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        self.started = True

    async def _piece(self, piece: bytes) -> None:
        self.last_sent = self._time()
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})


def _pairs(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]

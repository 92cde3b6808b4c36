"""An OpenAI server that follows a script, so that what a client measures is known beforehand.

    python tests/support/mock_llm_server.py --port 9000 [--script JSON]

By default each answer has a chunk that only names the role after 10 ms, its first text after 100 ms
and then 20 chunks of two tokens, one every 20 ms. Times are kept against the moment the request was
read: lateness of one chunk does not push the next.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

WORDS = (" time", " year", " people", " way", " day", " thing", " world", " life", " hand")


_KEPT = 1000  # of the newest requests: a million must not make the server grow


@dataclass(frozen=True)
class Script:
    """What the server does.

    ``pieces`` are the texts of the chunks, the first after ``first_ms``, the others each ``gap_ms``
    after the one before. ``stall`` is a span of seconds since the server started in which nothing
    is answered. ``every_nth`` request (1-based) fails as ``fault`` says.

    ``GET /truth`` tells when each piece was really sent, in seconds since its request was read.
    """

    role_ms: float = 10
    first_ms: float = 100
    gap_ms: float = 20
    pieces: tuple[str, ...] = tuple(WORDS[2 * i % 9] + WORDS[(2 * i + 1) % 9] for i in range(21))
    completion_tokens: int = 42
    usage: bool = True
    stall: tuple[float, float] | None = None
    fault: str = ""  # http_500, drop, error_event, cut
    every_nth: int = 0
    stamp: bool = False
    flood: bool = False  # every piece at once, as fast as it can be written
    models: tuple[str, ...] = ("mock",)


def _now() -> float:
    return time.perf_counter()  # looked up when it is asked: a test may have a clock of its own


@dataclass
class Mock:
    """A running server and what it saw."""

    port: int
    script: Script
    bodies: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=_KEPT))
    requests: int = 0
    started: float = field(default_factory=_now)
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    sent: deque[list[float]] = field(default_factory=lambda: deque(maxlen=_KEPT))


def _event(content: str | None, *, chat: bool, script: Script, **extra: Any) -> bytes:
    delta: dict[str, Any] = {} if content is None else {"content": content}
    if extra.pop("role", False):
        delta = {"role": "assistant", "content": ""}
    choice = {"index": 0, "finish_reason": extra.pop("finish", None)}
    choice |= {"delta": delta} if chat else {"text": content or ""}
    found = {"id": "mock", "object": "chat.completion.chunk", "model": "mock"}
    if script.stamp:
        extra["sent"] = time.perf_counter()
    return b"data: " + json.dumps(found | {"choices": [choice]} | extra).encode() + b"\n\n"


@cache
def _ready(piece: str, chat: bool, script: Script) -> bytes:
    return _chunk(_event(piece, chat=chat, script=script))


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


_FAULTS = {
    "cut": b"0\r\n\r\n",
    "error_event": _chunk(b'data: {"error": {"message": "engine died"}}\n\n') + b"0\r\n\r\n",
}
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _plain(status: int, body: dict[str, Any]) -> bytes:
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
    return head.encode() + b"\r\n\r\n" + data


async def _until(moment: float) -> None:
    while (left := moment - time.perf_counter()) > 0:
        await asyncio.sleep(left - 0.0015 if left > 0.0015 else 0)


class _Server:
    def __init__(self, mock: Mock) -> None:
        self.mock = mock

    async def client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.mock.writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, path, _ = head.split(" ", 2)
                length = head.lower().partition("content-length:")[2].partition("\r\n")[0]
                size = int(length or 0)
                body = await reader.readexactly(size)
                if method == "GET":
                    if path == "/truth":
                        writer.write(_plain(200, {"sent": list(self.mock.sent)}))
                        continue
                    ids = [{"id": name} for name in self.mock.script.models]
                    writer.write(_plain(200, {"object": "list", "data": ids}))
                elif not await self.answer(writer, path, json.loads(body or b"{}")):
                    break
        self.mock.writers.discard(writer)
        writer.close()

    async def answer(self, writer: asyncio.StreamWriter, path: str, body: dict[str, Any]) -> bool:
        begun, script = time.perf_counter(), self.mock.script
        self.mock.requests += 1
        self.mock.bodies.append(body)
        faulty = script.every_nth and self.mock.requests % script.every_nth == 0
        fault = script.fault if faulty else ""
        if fault == "http_500":
            writer.write(_plain(500, {"error": {"message": "out of luck"}}))
            return True
        return await self.stream(writer, begun, fault, chat="chat" in path)

    async def stream(
        self, writer: asyncio.StreamWriter, begun: float, fault: str, *, chat: bool
    ) -> bool:
        script = self.mock.script
        await self.send(writer, begun + script.role_ms / 1e3, _HEAD)
        if chat:
            writer.write(_chunk(_event(None, chat=chat, script=script, role=True)))
        pieces = script.pieces[: len(script.pieces) // 2] if fault else script.pieces
        await self.pieces(writer, begun, pieces, chat)
        if fault:
            # drop: the connection ends; cut: the answer does; error_event: it says why.
            writer.write(b"" if fault == "drop" else _FAULTS[fault])
            return fault != "drop"
        last = _event(None, chat=chat, script=script, finish="stop")
        if script.usage:
            count = {"prompt_tokens": 8, "completion_tokens": script.completion_tokens}
            last += _event(None, chat=chat, script=script, usage=count)
        writer.write(_chunk(last + b"data: [DONE]\n\n") + b"0\r\n\r\n")
        await writer.drain()
        return True

    async def pieces(
        self, writer: asyncio.StreamWriter, begun: float, pieces: tuple[str, ...], chat: bool
    ) -> None:
        script, at = self.mock.script, begun + self.mock.script.first_ms / 1e3
        sent: list[float] = []
        self.mock.sent.append(sent)
        for number, piece in enumerate(pieces):
            if script.flood:
                writer.write(_ready(piece, chat, script))
                if number % 64 == 63:
                    await writer.drain()
                continue
            make = functools.partial(_event, piece, chat=chat, script=script)
            sent.append(await self.send(writer, at, None, make) - begun)
            at += script.gap_ms / 1e3

    async def send(
        self, writer: asyncio.StreamWriter, at: float, data: bytes | None, make: Any = None
    ) -> float:
        """Write at a time; return the time just before, which no client can have it sooner than."""
        if span := self.mock.script.stall:
            since = time.perf_counter() - self.mock.started
            if span[0] <= since < span[1]:
                at = max(at, self.mock.started + span[1])
        await _until(at)
        data = data if data is not None else _chunk(make())
        now = time.perf_counter()
        writer.write(data)
        return now


@contextlib.asynccontextmanager
async def serving_here(script: Script | None = None) -> AsyncIterator[Mock]:
    """The server on the loop of whoever asks."""
    mock = Mock(0, script or Script())
    server = await asyncio.start_server(_Server(mock).client, "127.0.0.1", 0, backlog=1024)
    mock.port = server.sockets[0].getsockname()[1]
    try:
        yield mock
    finally:
        server.close()
        for writer in list(mock.writers):
            writer.transport.abort()
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def serving(script: Script | None = None) -> Iterator[Mock]:
    """The server in a thread of this process."""
    loop = asyncio.new_event_loop()
    mock = Mock(0, script or Script())
    server = loop.run_until_complete(
        asyncio.start_server(_Server(mock).client, "127.0.0.1", 0, backlog=1024)
    )
    mock.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield mock
    finally:
        asyncio.run_coroutine_threadsafe(_end(server, mock), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


async def _end(server: asyncio.Server, mock: Mock) -> None:
    server.close()
    for writer in list(mock.writers):
        writer.transport.abort()
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task():
            task.cancel()
    await asyncio.sleep(0.01)


async def _forever(port: int, script: Script) -> None:
    mock = Mock(port, script)
    server = await asyncio.start_server(_Server(mock).client, "127.0.0.1", port, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--script", default="{}", help="fields of Script as JSON")
    found = parser.parse_args()
    fields = {
        k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(found.script).items()
    }
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_forever(found.port, replace(Script(), **fields)))


if __name__ == "__main__":
    main()

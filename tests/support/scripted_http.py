"""An HTTP server that plays a script: bytes, pauses, and ways to go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

Step = bytes | float | str | asyncio.Event
"""Bytes to send, seconds or an event to wait for, ``close``, ``reset``, or ``hold`` until the
client leaves."""


def answer(body: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> bytes:
    """A whole response; ``retry_after`` is the header ``retry-after``."""
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{more}Content-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """A chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(text: str) -> bytes:
    """An event in a chunk of its own."""
    return chunk(f"data: {text}\n\n".encode())


@dataclass
class Scripted:
    """What the server saw: heads and bodies of the requests, and how many clients left a stream."""

    port: int = 0
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    left: int = 0
    connections: int = 0

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def lost(self, clients: int) -> None:
        """Wait until so many clients have left during a ``hold``."""
        async with asyncio.timeout(60):
            while self.left < clients:
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def scripted(
    *scripts: Sequence[Step], tls: ssl.SSLContext | None = None
) -> AsyncIterator[Scripted]:
    """Serve the requests that come, in their order, by one script each; the last is repeated."""
    seen = Scripted()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                script = await _request(reader, seen, scripts)
                for step in script:
                    if not await _play(step, reader, writer, seen):
                        return
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _request(
    reader: asyncio.StreamReader, seen: Scripted, scripts: Sequence[Sequence[Step]]
) -> Sequence[Step]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    size = head.lower().partition("\r\ncontent-length: ")[2].partition("\r\n")[0]
    seen.bodies.append(await reader.readexactly(int(size or 0)))
    seen.heads.append(head)
    return scripts[min(len(seen.heads), len(scripts)) - 1]


async def _play(
    step: Step, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Scripted
) -> bool:
    """False once the connection is over."""
    if isinstance(step, bytes):
        writer.write(step)
        await writer.drain()
    elif isinstance(step, asyncio.Event):
        await step.wait()
    elif isinstance(step, int | float):
        await asyncio.sleep(step)
    elif step == "hold":
        with contextlib.suppress(OSError):
            await reader.read(1)
        seen.left += 1
        writer.close()
        return False
    elif step == "reset":
        writer.transport.abort()
        return False
    else:
        writer.close()
        return False
    return True

"""Two versions of a server for a rollout, which do what a test tells them, and users who ask."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from support.scripted_http import END, STREAM, Step, answer, event
from trtbuild.wire.failures import WireError
from trtbuild.wire.triton_http import TritonHttp

ANSWER = answer(b'{"text_output": "x"}')
READY = answer(b"{}")
JSON = {"Content-Type": "application/json"}


@dataclass
class Version:
    """A server; ``script`` is what it answers from now on, and ``kill`` ends it at once."""

    address: str
    script: list[Step]
    asked: int = 0
    kill: Callable[[], None] = lambda: None


@contextlib.asynccontextmanager
async def version(*script: Step) -> AsyncIterator[Version]:
    """Serve a version that answers every request by a script; it is always ready."""
    tasks: set[asyncio.Task[None]] = set()
    writers: set[asyncio.StreamWriter] = set()
    made = Version("", list(script or (ANSWER,)))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        writers.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                size = head.lower().partition("\r\ncontent-length: ")[2].partition("\r\n")[0]
                await reader.readexactly(int(size or 0))
                if "/ready" in head:
                    steps: list[Step] = [READY]
                elif head.startswith("GET /metrics"):
                    steps = [answer(b"", 404)]
                else:
                    made.asked += 1
                    steps = made.script
                for step in steps:
                    if isinstance(step, bytes):
                        writer.write(step)
                        await writer.drain()
                    else:
                        await asyncio.sleep(float(step))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    made.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

    def kill() -> None:
        server.close()
        for writer in writers:
            writer.transport.abort()
        for task in tasks:
            task.cancel()

    made.kill = kill
    try:
        yield made
    finally:
        kill()
        await asyncio.gather(*tasks, return_exceptions=True)


def stream(events: int, pause: float) -> list[Step]:
    """A stream of so many events."""
    pieces: list[Step] = [STREAM]
    for _ in range(events):
        pieces += [event('{"text": "x"}'), pause]
    return [*pieces, event("[DONE]"), END]


async def listening(address: str) -> None:
    """Wait until somebody listens."""
    async with asyncio.timeout(60):
        while not await _listens(address):
            await asyncio.sleep(0.02)


@dataclass
class Users:
    """Requests at a steady rate, whatever becomes of them."""

    address: str
    rate: float
    sent: list[tuple[float, bool]] = field(default_factory=list)
    open: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        """Ask from when somebody listens until cancelled; what hangs then has failed."""
        await listening(self.address)
        async with TritonHttp(self.address, environment=False) as client:
            try:
                while True:
                    task = asyncio.create_task(self._ask(client))
                    self.open.add(task)
                    task.add_done_callback(self.open.discard)
                    await asyncio.sleep(1 / self.rate)
            finally:
                if self.open:
                    await asyncio.wait(self.open, timeout=3)
                for task in list(self.open):
                    task.cancel()
                await asyncio.gather(*self.open, return_exceptions=True)

    async def _ask(self, client: TritonHttp) -> None:
        at, good = time.monotonic(), False
        try:
            good = (await client.fetch("POST", "/v1/completions", b"{}", seconds=60)).status == 200
        except WireError:
            good = False
        finally:
            self.sent.append((at, good))

    def failed(self, since: float = 0) -> int:
        """Requests sent since then that failed."""
        return sum(not good for at, good in self.sent if at >= since)


async def streamed(address: str, over: Callable[[], bool], body: bytes = b"{}") -> tuple[int, int]:
    """Stream again and again until it is over, or nobody listens any more: how many streams were
    whole, and how many cut. Each has a connection of its own."""
    await listening(address)
    whole = cut = 0
    while not over():
        last = b""
        async with TritonHttp(address, environment=False) as client:
            try:
                async for one in client.events("POST", "/v1/completions", body, JSON):
                    last = one
            except WireError:
                if not last and over():
                    return whole, cut
                await asyncio.sleep(0.05)
                if not last and not await _listens(address):
                    return whole, cut
        whole, cut = whole + (last == b"[DONE]"), cut + (last != b"[DONE]")
    return whole, cut


async def _listens(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    return True

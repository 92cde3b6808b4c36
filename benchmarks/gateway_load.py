"""Programs, requests and streams that the gateway's benchmarks share."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
TICK = 0.04


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> float:
    """Seconds until something listens."""
    began = time.monotonic()
    while time.monotonic() - began < 30:
        if process.poll() is not None:
            raise SystemExit(f"a relay ended with exit code {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return time.monotonic() - began
        time.sleep(0.005)
    raise SystemExit("a relay does not listen")


@contextlib.contextmanager
def running(argv: list[str], port: int) -> Iterator[tuple[psutil.Process, float]]:
    """A program that listens, with the seconds until it did."""
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield psutil.Process(process.pid), wait_for(port, process)
    finally:
        process.kill()
        process.wait()


class Stream(asyncio.Protocol):
    """One request; counts the tokens, and notes when the first came."""

    def __init__(self, request: bytes, marker: bytes) -> None:
        self._request, self._marker = request, marker
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.first = self.sent = 0.0
        self.tokens = 0
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.sent = time.perf_counter()
        transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if not self.first and self._marker in data:
            self.first = time.perf_counter()
        self.tokens += data.count(b"word")
        self._tail = (self._tail + data)[-5:]
        if self._tail == b"0\r\n\r\n" and not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("closed early"))


async def opened(port: int, request: bytes, marker: bytes) -> Stream:
    loop = asyncio.get_running_loop()
    _, stream = await loop.create_connection(lambda: Stream(request, marker), "127.0.0.1", port)
    return stream


def post(path: str, body: dict[str, Any], key: str = "") -> bytes:
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += f"Authorization: Bearer {key}\r\n" if key else ""
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def direct(ticks: int, at_once: int) -> bytes:
    return post("/v2/models/m/generate_stream", {"text_input": f"{ticks} {at_once}"})


def completion(ticks: int, at_once: int, key: str = "") -> bytes:
    body = {"model": "m", "prompt": f"{ticks} {at_once}", "stream": True, "max_tokens": 100_000}
    return post("/v1/completions", body, key)


def chat(ticks: int, at_once: int) -> bytes:
    messages = [{"role": "user", "content": f"{ticks} {at_once}"}]
    body = {"model": "m", "messages": messages, "stream": True, "max_tokens": 100_000}
    return post("/v1/chat/completions", body)


Request = Callable[[int, int], bytes]

"""An OpenAI server in a thread of its own, whose answers a test decides, and that counts calls."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Decide = Callable[[str, int], "int | float | str | tuple[int, dict[str, str]]"]
"""From a text and how often it was asked: a status, seconds to wait before the answer, ``drop``, or
a status with headers."""


def fine(_text: str, _times: int) -> int:
    return 200


def vector_of(text: str) -> list[float]:
    return [float(len(text)), 0.5, -1.0]


@dataclass
class BatchServer:
    """``decide`` may be changed at any time."""

    port: int = 0
    decide: Decide = fine
    vector: Callable[[str], list[float]] = vector_of
    asked: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    metrics: str = ""
    models: tuple[str, ...] = ("m",)
    flying: int = 0
    most: int = 0
    holds: bool = True
    """Whether requests for which it was decided to ``hold`` them wait; then each is answered."""
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                size = head.lower().partition("content-length:")[2].partition("\r\n")[0]
                body = await reader.readexactly(int(size or 0))
                path = head.split(" ")[1]
                self.heads.append(head)
                if head.startswith("GET"):
                    self._get(writer, path)
                elif not await self._post(writer, path, json.loads(body)):
                    break
        self._writers.discard(writer)
        writer.close()

    def _get(self, writer: asyncio.StreamWriter, path: str) -> None:
        if path == "/v1/models":
            listed = {"data": [{"id": name} for name in self.models]}
            writer.write(_answer(200, json.dumps(listed).encode()))
        else:
            writer.write(_answer(200 if self.metrics else 404, self.metrics.encode()))

    async def _post(self, writer: asyncio.StreamWriter, path: str, body: dict[str, Any]) -> bool:
        texts = _texts(body)
        text = texts[0]
        self.asked.update(texts)
        self.bodies.append(body)
        self.flying += 1
        self.most = max(self.most, self.flying)
        try:
            decided = [self.decide(one, self.asked[one]) for one in texts]
            found = next((one for one in decided if one != 200), 200)
            while found == "hold" and self.holds:
                await asyncio.sleep(0.005)
            if found == "hold":
                found = 200
            if isinstance(found, float):
                await asyncio.sleep(found)
                found = 200
            if found == "drop":
                return False
            status, headers = found if isinstance(found, tuple) else (int(found), {})
            answer = _good(path, text, body, self.vector) if status == 200 else _error(status)
            writer.write(_answer(status, json.dumps(answer).encode(), **headers))
            await writer.drain()
            return True
        finally:
            self.flying -= 1


def _texts(body: dict[str, Any]) -> list[str]:
    """What is asked about: several texts of an embedding model."""
    if "messages" in body:
        return [str(body["messages"][-1]["content"])]
    found = body.get("prompt") or body.get("input") or body.get("query")
    return [str(one) for one in found] if isinstance(found, list) else [str(found)]


def _good(
    path: str, text: str, body: dict[str, Any], vector: Callable[[str], list[float]]
) -> dict[str, Any]:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    if path.endswith("/embeddings"):
        data = [{"index": at, "embedding": vector(one)} for at, one in enumerate(_texts(body))]
        return {"data": data[::-1], "usage": usage}
    if path.endswith("/rerank"):
        scores = [
            {"index": at, "relevance_score": len(one)} for at, one in enumerate(body["documents"])
        ]
        return {"results": scores[::-1], "usage": {"total_tokens": 3}}
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    if path.endswith("/chat/completions"):
        choice["message"] = {"role": "assistant", "content": f"re: {text}"}
    else:
        choice["text"] = f"re: {text}"
    return {"choices": [choice], "usage": usage}


def _error(status: int) -> dict[str, Any]:
    message = "the context_length is exceeded" if status == 413 else f"scripted {status}"
    return {"error": {"message": message}}


def _answer(status: int, body: bytes, **headers: str) -> bytes:
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


@contextlib.contextmanager
def batch_server() -> Iterator[BatchServer]:
    """Serve until the end of the block."""
    found = BatchServer()
    started = threading.Event()
    loop = asyncio.new_event_loop()

    async def main() -> None:
        server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
        found.port = server.sockets[0].getsockname()[1]
        started.set()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(main())
        loop.run_forever()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(30)
    try:
        yield found
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)

"""Answers of an OpenAI endpoint, byte for byte, and what the benchmark's target reads of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from trtbuild_measure.bench.model import Generation, Prompt, Stream
from trtbuild_measure.bench.targets.openai import OpenAITarget

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
Answer = Callable[[int], list[bytes]]


def chunk(*events: Any, done: bool = True) -> bytes:
    """Events as one HTTP chunk."""
    texts = [event if isinstance(event, str) else json.dumps(event) for event in events]
    data = "".join(f"data: {text}\n\n" for text in [*texts, *(["[DONE]"] if done else [])]).encode()
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def delta(**found: Any) -> dict[str, Any]:
    """A chunk of a chat."""
    return {"choices": [{"delta": found}]}


async def asked(answer: Answer, count: int = 1) -> tuple[list[Stream], list[int]]:
    """``count`` requests one after another, and how many requests each connection brought.

    ``answer`` gives the bytes of the n-th request's answer; the connection ends after an answer
    whose last bytes are empty.
    """
    served: list[int] = []

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(0)
        place = len(served) - 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                served[place] += 1
                parts = answer(sum(served))
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0.01)
                if not parts[-1]:
                    break
        except asyncio.IncompleteReadError:
            pass
        writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1"
    target = OpenAITarget("a", url, "m", Generation(), timeout=120, api_key="bearer-of-news")
    streams = []
    for _ in range(count):
        stream = Stream(Prompt("?", 1, 4), intended=0.0)
        await target.ask(stream)
        streams.append(stream)
    await target.close()
    server.close()
    return streams, served


def one(*events: Any) -> Stream:
    """What is read of an answer of these events."""
    (stream,), _ = asyncio.run(asked(lambda _: [HEAD + chunk(*events) + b"0\r\n\r\n"]))
    return stream

"""A Triton of one file, for faults that a real one shows rarely: it plays a script for each model.

The models' metadata and configurations are those of vLLM's backend.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from support.scripted_http import END, STREAM, Step, answer, event

INPUTS = (
    ("text_input", "BYTES"), ("image", "BYTES"), ("stream", "BOOL"),
    ("sampling_parameters", "BYTES"), ("exclude_input_in_output", "BOOL"),
    ("return_finish_reason", "BOOL"), ("return_cumulative_logprob", "BOOL"),
    ("return_logprobs", "BOOL"), ("return_num_input_tokens", "BOOL"),
    ("return_num_output_tokens", "BOOL"),
)  # fmt: skip
OUTPUTS = (
    ("text_output", "BYTES"), ("finish_reason", "BYTES"), ("logprobs", "BYTES"),
    ("num_input_tokens", "UINT32"), ("num_output_tokens", "UINT32"),
)  # fmt: skip


def said(text: str, reason: str = "None", tokens: int = 1, **more: Any) -> bytes:
    """A response of vLLM's backend as an event."""
    made = {"model_name": "m", "model_version": "1", "text_output": text, "finish_reason": reason}
    return event(json.dumps({**made, "num_output_tokens": tokens, "num_input_tokens": 3, **more}))


def words(*texts: str, reason: str = "stop") -> list[Step]:
    """A whole stream of these texts."""
    events = [said(text) for text in texts[:-1]]
    return [STREAM, *events, said(texts[-1], reason), END]


@dataclass
class FakeTriton:
    """What it saw: bodies of the generate requests, loads and unloads, how many connections are
    open, and how many clients left a stream early. ``control`` answers a load or an unload of a
    model."""

    port: int = 0
    scripts: dict[str, Sequence[Step] | Callable[[dict[str, Any]], Sequence[Step]]] = field(
        default_factory=dict
    )
    index: list[dict[str, str]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    connections: int = 0
    left: int = 0
    left_at: float = 0.0
    spec: tuple[Any, Any] = (INPUTS, OUTPUTS)
    controlled: list[tuple[str, str, bytes]] = field(default_factory=list)
    control: Callable[[str, str], Sequence[Step]] | None = None

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    def described(self, name: str, what: str) -> dict[str, Any]:
        inputs, outputs = self.spec
        generates = inputs is INPUTS
        if what == "config":
            optional = [{"name": n, "optional": n != "text_input"} for n, _ in inputs]
            policy = {"model_transaction_policy": {"decoupled": generates}}
            return {
                "name": name,
                "backend": "vllm" if generates else "python",
                "max_batch_size": 0,
                "input": optional,
            } | policy
        tensors = {
            kind: [{"name": n, "datatype": t, "shape": [-1]} for n, t in rows]
            for kind, rows in (("inputs", inputs), ("outputs", outputs))
        }
        return {"name": name, "versions": ["1"], "platform": "vllm", **tensors}

    def script(self, path: str, body: bytes) -> Sequence[Step]:
        parts = path.split("/")
        if path == "/v2/repository/index":
            rows = self.index or [{"name": n, "state": "READY"} for n in self.scripts]
            return [answer(json.dumps(rows).encode())]
        if path.startswith("/v2/repository/models/"):
            self.controlled.append((parts[-1], parts[4], body))
            assert self.control is not None, "the test has no script for loads"
            return self.control(parts[-1], parts[4])
        name, what = parts[3], parts[-1]
        if name not in self.scripts:
            text = f"Request for unknown model: '{name}' is not found"
            return [answer(json.dumps({"error": text}).encode(), 400)]
        if what == "generate_stream":
            self.bodies.append(json.loads(body))
            found = self.scripts[name]
            return found(self.bodies[-1]) if callable(found) else found
        return [answer(json.dumps(self.described(name, what)).encode())]


@contextlib.asynccontextmanager
async def fake_triton(port: int = 0, /, **scripts: Any) -> AsyncIterator[FakeTriton]:
    """Serve these models; port 0 takes a free one."""
    fake = FakeTriton(scripts=dict(scripts))
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        fake.connections += 1
        task.add_done_callback(lambda _: _close(fake))
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                size = head.lower().partition("\r\ncontent-length: ")[2].partition("\r\n")[0]
                body = await reader.readexactly(int(size or 0))
                fake.heads.append(head)
                for step in fake.script(head.split(" ")[1], body):
                    if not await _play(step, reader, writer, fake):
                        return
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    fake.port = server.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _close(fake: FakeTriton) -> None:
    fake.connections -= 1


async def _play(
    step: Step, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fake: FakeTriton
) -> bool:
    """False once the connection is over."""
    if isinstance(step, bytes):
        writer.write(step)
        await writer.drain()
        return True
    if isinstance(step, int | float):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(step):
                await reader.read(1)
            _note(fake)
            return False
        return True
    if isinstance(step, asyncio.Event):
        await step.wait()
        return True
    if step == "hold":
        with contextlib.suppress(OSError):
            await reader.read(1)
        _note(fake)
    if step == "reset":
        writer.transport.abort()
    writer.close()
    return False


def _note(fake: FakeTriton) -> None:
    fake.left += 1
    fake.left_at = asyncio.get_running_loop().time()

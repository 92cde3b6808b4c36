"""Triton's generate_stream with a fixed rhythm, as cheap as Python allows.

    python benchmarks/mock_generate_stream.py PORT TICK

The prompt is ``TICKS AT_ONCE``: so many writes of so many events each; 0 writes nothing forever.
``GET /left`` returns the monotonic time at which a client last closed a stream that had not ended.
"""

from __future__ import annotations

import asyncio
import json
import sys

PORT, TICK = int(sys.argv[1]), float(sys.argv[2])
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
INPUTS = ("text_input", "stream", "sampling_parameters", "exclude_input_in_output")
OUTPUTS = ("text_output", "finish_reason", "num_output_tokens", "num_input_tokens")
left = [0.0]


def event(reason: str) -> bytes:
    made = {
        "model_name": "m", "model_version": "1", "text_output": " word", "finish_reason": reason,
        "num_input_tokens": 3, "num_output_tokens": 1,
    }  # fmt: skip
    data = b"data: " + json.dumps(made).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


ONE, LAST = event("None"), event("stop") + b"0\r\n\r\n"


def described(path: str) -> bytes:
    if path == "/left":
        return repr(left[0]).encode()
    if path == "/v2/repository/index":
        found: object = [{"name": "m", "version": "1", "state": "READY"}]
    elif path.endswith("/config"):
        found = {"name": "m", "backend": "vllm", "model_transaction_policy": {"decoupled": True}}
    else:
        inputs = [{"name": name, "datatype": "BYTES", "shape": [1]} for name in INPUTS]
        outputs = [{"name": name, "datatype": "BYTES", "shape": [1]} for name in OUTPUTS]
        found = {"name": "m", "versions": ["1"], "platform": "", "inputs": inputs}
        found["outputs"] = outputs
    return json.dumps(found).encode()


class Server(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.buffer = b""
        self.timer: asyncio.TimerHandle | None = None
        self.open = False

    def connection_lost(self, _: Exception | None) -> None:
        if self.open:
            left[0] = asyncio.get_running_loop().time()
        if self.timer:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        size = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if not found or len(body) < int(size or 0):
            return
        self.buffer = b""
        path = head.split(b" ", 2)[1].decode()
        if path.endswith("/generate_stream"):
            ticks, at_once = map(int, json.loads(body)["text_input"].split())
            self.open = True
            self.transport.write(STREAM)
            if ticks:
                self.tick(ticks, ONE * at_once, ONE * (at_once - 1) + LAST)
            return
        answer = described(path)
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer
        )

    def tick(self, ticks: int, piece: bytes, last: bytes) -> None:
        if ticks == 1:
            self.open = False
            self.transport.write(last)
            return
        self.transport.write(piece)
        loop = asyncio.get_running_loop()
        self.timer = loop.call_later(TICK, self.tick, ticks - 1, piece, last)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", PORT, backlog=4096)
    await server.serve_forever()


asyncio.run(main())

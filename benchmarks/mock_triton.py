"""A Triton that answers as fast as it can, over HTTP and gRPC: what its client can take.

    python benchmarks/mock_triton.py --tokens 2000

Prints its two ports, HTTP's first. The model ``m`` has the tensors of the vLLM backend; each
response holds one token, its text and a count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc

from trtbuild.wire import protobuf
from trtbuild.wire.schema import message

INPUTS = {"text_input": "BYTES", "sampling_parameters": "BYTES", "stream": "BOOL"}
OUTPUTS = {"text_output": ("BYTES", b"\x02\0\0\0 a"), "num_output_tokens": ("UINT32", b"\1\0\0\0")}
EVENT = b'data: {"model_name":"m","model_version":"1","num_output_tokens":1,"text_output":" a"}\n\n'
DECOUPLED = {"model_transaction_policy": {"decoupled": True}, "name": "m", "backend": "vllm"}


def metadata() -> Any:
    """The model's, as a message."""
    made = message("ModelMetadataResponse")(name="m", versions=["1"], platform="vllm")
    for rows, names in ((made.inputs, INPUTS), (made.outputs, OUTPUTS)):
        for name in names:
            kind = names[name] if isinstance(names[name], str) else names[name][0]
            rows.add(name=name, datatype=kind, shape=[1])
    return made


def one_token() -> bytes:
    """A response of the stream."""
    made = message("ModelInferResponse")(model_name="m", model_version="1")
    for name, (kind, raw) in OUTPUTS.items():
        made.outputs.add(name=name, datatype=kind, shape=[1])
        made.raw_output_contents.append(raw)
    return bytes(message("ModelStreamInferResponse")(infer_response=made).SerializeToString())


class Triton(grpc.GenericRpcHandler):
    """The gRPC endpoint."""

    def __init__(self, tokens: int) -> None:
        config = message("ModelConfigResponse")(config=DECOUPLED)
        self.answers = {"ModelMetadata": metadata(), "ModelConfig": config}
        self.tokens = tokens

    def service(self, details: Any) -> Any:
        """Called by gRPC."""
        name = details.method.rpartition("/")[2]
        if name == "ModelStreamInfer":
            return grpc.stream_stream_rpc_method_handler(self.stream)

        async def unary(_request: bytes, _context: Any) -> bytes:
            return bytes(self.answers[name].SerializeToString())

        return grpc.unary_unary_rpc_method_handler(unary) if name in self.answers else None

    async def stream(self, requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
        """A response for each token."""
        sent = one_token()
        async for _ in requests:
            for _ in range(self.tokens):
                yield sent


async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tokens: int) -> None:
    """The HTTP endpoint."""
    told = protobuf.plain(metadata())
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n"
    chunk = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)
    while True:
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (OSError, asyncio.IncompleteReadError):
            return writer.close()
        size = request.lower().partition("\r\ncontent-length: ")[2].partition("\r\n")[0]
        await reader.readexactly(int(size or 0))
        if "/generate_stream" in request:
            writer.write(head % b"text/event-stream" + b"Transfer-Encoding: chunked\r\n\r\n")
            for at in range(tokens):
                writer.write(chunk)
                if at % 50 == 0:
                    await writer.drain()
            writer.write(b"0\r\n\r\n")
        else:
            body = json.dumps(DECOUPLED if "/config" in request else told).encode()
            length = b"Content-Length: %d\r\n\r\n" % len(body)
            writer.write(head % b"application/json" + length + body)


async def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--tokens", type=int, default=2000)
    tokens = parser.parse_args().tokens
    web = await asyncio.start_server(lambda r, w: http(r, w, tokens), "127.0.0.1", 0)
    rpc = grpc.aio.server(handlers=(Triton(tokens),))
    port = rpc.add_insecure_port("127.0.0.1:0")
    await rpc.start()
    print(web.sockets[0].getsockname()[1], port, flush=True)
    await rpc.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())

"""A gRPC server that speaks Triton's protocol by a script, with the official messages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from tritonclient.grpc import service_pb2

official: Any = service_pb2
Step = Any
"""A message, seconds to wait, ``hold`` until the client leaves, or a status as :func:`status`."""


@dataclass(frozen=True)
class Status:
    code: str
    words: str = ""
    metadata: Sequence[tuple[str, str]] = ()


@dataclass
class Seen:
    """Requests by method, their metadata, how many calls were held, and how many were left."""

    port: int = 0
    requests: dict[str, list[Any]] = field(default_factory=dict)
    metadata: list[dict[str, str]] = field(default_factory=list)
    held: int = 0
    left: int = 0

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"


def response(final: bool = False, **outputs: Sequence[str]) -> Any:
    """A message of a stream, with outputs of text."""
    made = official.ModelInferResponse(model_name="m", model_version="1")
    for name, texts in outputs.items():
        made.outputs.add(name=name, datatype="BYTES", shape=[len(texts)])
        raw = b"".join(len(t.encode()).to_bytes(4, "little") + t.encode() for t in texts)
        made.raw_output_contents.append(raw)
    made.parameters["triton_final_response"].bool_param = final
    return official.ModelStreamInferResponse(infer_response=made)


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, seen: Seen, script: Mapping[str, Sequence[Step]]) -> None:
        self._seen, self._script = seen, script

    def service(self, details: Any) -> Any:
        name = details.method.rpartition("/")[2]
        if name not in self._script:
            return None
        if name == "ModelStreamInfer":
            return grpc.stream_stream_rpc_method_handler(self._stream)

        async def unary(request: bytes, context: Any) -> bytes:
            self._note(name, request, context)
            return await self._play(self._script[name][0], context)

        return grpc.unary_unary_rpc_method_handler(unary)

    async def _stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            self._note("ModelStreamInfer", request, context)
            for step in self._script["ModelStreamInfer"]:
                if sent := await self._play(step, context):
                    yield sent

    async def _play(self, step: Step, context: Any) -> bytes:
        if isinstance(step, Status):
            code = getattr(grpc.StatusCode, step.code)
            await context.abort(code, step.words, trailing_metadata=tuple(step.metadata))
        if step == "hold" or isinstance(step, float):
            self._seen.held += step == "hold"
            try:
                await asyncio.sleep(600 if step == "hold" else step)
            except asyncio.CancelledError:
                self._seen.left += 1
                raise
        if isinstance(step, bytes):
            return step
        return bytes(step.SerializeToString()) if hasattr(step, "SerializeToString") else b""

    def _note(self, name: str, request: bytes, context: Any) -> None:
        kind: Callable[[bytes], Any] = getattr(
            official, f"{name.replace('Stream', '')}Request"
        ).FromString
        self._seen.requests.setdefault(name, []).append(kind(request))
        self._seen.metadata.append(dict(context.invocation_metadata()))


@contextlib.asynccontextmanager
async def serving(script: Mapping[str, Sequence[Step]], tls: Any = None) -> AsyncIterator[Seen]:
    """Answer each method of ``script`` by its steps; the others are unimplemented."""
    seen = Seen()
    server = grpc.aio.server(handlers=(_Handler(seen, script),))
    if tls is None:
        seen.port = server.add_insecure_port("127.0.0.1:0")
    else:
        seen.port = server.add_secure_port("127.0.0.1:0", tls)
    await server.start()
    try:
        yield seen
    finally:
        await server.stop(None)

"""``triton:grpc://HOST:PORT/MODEL``: one bidirectional stream a request, raw on gRPC's aio API.

Messages are taken as bytes: the time is read before anything is parsed, and the generated stubs'
wrapping (a Python object for each tensor) is left out.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any

from tritonclient.grpc import service_pb2

from trtbuild.bench.model import Generation, Stream
from trtbuild.bench.targets.triton import Reader, TritonModel
from trtbuild.client.dialect import Value

messages: Any = service_pb2  # generated code, without types

_METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"
_FORMATS: Mapping[str, str] = {
    "BOOL": "?",
    "INT32": "i",
    "INT64": "q",
    "UINT32": "I",
    "UINT64": "Q",
    "FP32": "f",
    "FP64": "d",
}
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),  # a proxy of the environment would be measured, too
)


class TritonGrpcTarget:
    """A served model over gRPC; ``url`` is ``HOST:PORT``."""

    def __init__(
        self, name: str, url: str, model: str, generation: Generation, *, timeout: float = 600
    ) -> None:
        self.name = name
        self.ignored: tuple[str, ...] = ()
        self._url = url
        self._name = model
        self._generation = generation
        self._timeout = timeout
        self._model: TritonModel | None = None
        self._channel: Any = None
        self._method: Callable[..., Any] | None = None

    async def open(self) -> None:
        """See :class:`~trtbuild.bench.model.Target`."""
        import grpc

        self._model = await asyncio.to_thread(
            TritonModel, self._url, self._name, "grpc", self._generation
        )
        self.ignored = self._model.ignored()
        self._channel = grpc.aio.insecure_channel(self._url, options=_OPTIONS)
        self._method = self._channel.stream_stream(_METHOD)

    async def ask(self, stream: Stream) -> None:
        """See :class:`~trtbuild.bench.model.Target`."""
        import grpc

        assert self._method is not None
        try:
            await self._exchange(stream)
        except grpc.aio.AioRpcError as error:
            stream.fail(time.perf_counter(), _kind(error, stream), str(error.details()))
        except (ValueError, TypeError, struct.error) as error:
            stream.fail(time.perf_counter(), "malformed", str(error))

    async def _exchange(self, stream: Stream) -> None:
        assert self._model is not None and self._method is not None
        request = self._request(stream)
        reader = Reader(self._model, stream)
        call = self._method(timeout=self._timeout)
        try:
            stream.started = time.perf_counter()
            await call.write(request)
            await call.done_writing()
            async for message in call:
                now = time.perf_counter()
                if outputs := _outputs(message, stream, now):
                    reader.response(now, outputs)
        finally:
            call.cancel()
        if not stream.error:
            stream.ended = time.perf_counter()

    def _request(self, stream: Stream) -> bytes:
        assert self._model is not None
        request = messages.ModelInferRequest(model_name=self._name)
        for name, value in self._model.inputs(stream.prompt).items():
            tensor = self._model.metadata.input(name)
            assert tensor is not None
            items = value if isinstance(value, list) else [value]
            shape = [1] * (max(1, len(tensor.shape)) - 1) + [len(items)]
            request.inputs.add(name=name, datatype=tensor.datatype, shape=shape)
            raw = b"".join(_raw(tensor.datatype, item) for item in items)
            request.raw_input_contents.append(raw)
        return bytes(request.SerializeToString())

    async def close(self) -> None:
        """See :class:`~trtbuild.bench.model.Target`."""
        if self._channel is not None:
            await self._channel.close()


def _raw(datatype: str, value: Value) -> bytes:
    if datatype == "BYTES":
        data = str(value).encode("utf-8")
        return len(data).to_bytes(4, "little") + data
    return struct.pack(f"<{_FORMATS[datatype]}", value)


def _outputs(message: bytes, stream: Stream, now: float) -> dict[str, Any]:
    """First element of each output of one response."""
    answer = messages.ModelStreamInferResponse.FromString(message)
    if answer.error_message:
        stream.fail(now, "server error", answer.error_message)
        return {}
    response = answer.infer_response
    found: dict[str, Any] = {}
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        if output.datatype == "BYTES":
            size = int.from_bytes(raw[:4], "little")
            found[output.name] = raw[4 : 4 + size].decode("utf-8", "replace")
        elif output.datatype in _FORMATS and raw:
            found[output.name] = struct.unpack_from(f"<{_FORMATS[output.datatype]}", raw)[0]
    return found


def _kind(error: Any, stream: Stream) -> str:
    name = str(error.code().name).lower()
    if name == "deadline_exceeded":
        return "timeout"
    if name == "unavailable":
        return "dropped" if stream.pieces else "refused"
    return f"grpc {name}"

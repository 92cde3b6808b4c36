"""``triton:grpc://HOST:PORT/MODEL``: one bidirectional stream a request, raw on gRPC's aio API.

Messages are taken as bytes: the time is read before anything is parsed, and the generated stubs'
wrapping (a Python object for each tensor) is left out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from trtbuild.bench.model import Generation, Stream
from trtbuild.bench.targets.triton import Reader, TritonModel
from trtbuild.wire import protobuf
from trtbuild.wire.tensors import Outputs

_METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"
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
        except (ValueError, TypeError) as error:
            stream.fail(time.perf_counter(), "malformed", str(error))

    async def _exchange(self, stream: Stream) -> None:
        assert self._model is not None and self._method is not None
        request = protobuf.encode_request(self._name, self._model.request(stream.prompt))
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

    async def close(self) -> None:
        """See :class:`~trtbuild.bench.model.Target`."""
        if self._channel is not None:
            await self._channel.close()


def _outputs(message: bytes, stream: Stream, now: float) -> Outputs:
    """The outputs of one response; none of one that is an error."""
    answer = protobuf.decode_stream_response(message)
    if isinstance(answer, str):
        stream.fail(now, "server error", answer)
        return {}
    return answer.outputs


def _kind(error: Any, stream: Stream) -> str:
    name = str(error.code().name).lower()
    if name == "deadline_exceeded":
        return "timeout"
    if name == "unavailable":
        return "dropped" if stream.pieces else "refused"
    return f"grpc {name}"

"""``triton:grpc://HOST:PORT/MODEL``: one bidirectional stream a request, raw on gRPC's aio API.

Messages are received as bytes: the clock is read before parsing, and the generated stubs'
wrapping (a Python object for each tensor) is left out.
"""

from __future__ import annotations

import time
from contextlib import aclosing

from trtbuild.client.transport import Protocol
from trtbuild.wire import protobuf
from trtbuild.wire.failures import (
    DeadlineError,
    DroppedError,
    MalformedError,
    RefusedError,
    WireError,
)
from trtbuild.wire.tensors import Outputs
from trtbuild.wire.triton_grpc import TritonGrpc, ended
from trtbuild_measure.bench.model import Stream
from trtbuild_measure.bench.targets.triton import Reader, TritonModel


class GrpcExchange:
    """Prompts for one model over gRPC; ``url`` is ``HOST:PORT``."""

    protocol: Protocol = "grpc"

    def __init__(self, url: str, model: str, timeout: float) -> None:
        self._name = model
        # A proxy from the environment would be measured, too.
        self._client = TritonGrpc(url, seconds=timeout, environment=False)

    async def generate(self, model: TritonModel, stream: Stream) -> None:
        """See :class:`~trtbuild_measure.bench.targets.triton.Exchange`."""
        try:
            await self._exchange(model, stream)
        except WireError as error:
            stream.fail(time.perf_counter(), _kind(error, stream), str(error))
        except (ValueError, TypeError) as error:
            stream.fail(time.perf_counter(), "malformed", str(error))

    async def _exchange(self, model: TritonModel, stream: Stream) -> None:
        request = protobuf.encode_request(self._name, model.request(stream.prompt))
        reader = Reader(model, stream)
        stream.started = time.perf_counter()
        async with aclosing(self._client.stream_bytes(request)) as messages:
            async for message in messages:
                now = time.perf_counter()
                if outputs := _outputs(message, stream, now):
                    reader.response(now, outputs)
                if stream.error:
                    await ended(messages)
                    break
        if not stream.error:
            stream.ended = time.perf_counter()

    async def close(self) -> None:
        """See :class:`~trtbuild_measure.bench.targets.triton.Exchange`."""
        await self._client.close()


def _outputs(message: bytes, stream: Stream, now: float) -> Outputs:
    """Return the outputs of one response; none for an error."""
    answer = protobuf.decode_stream_response(message)
    if isinstance(answer, str):
        stream.fail(now, "server error", answer)
        return {}
    return answer.outputs


def _kind(error: WireError, stream: Stream) -> str:
    if isinstance(error, DeadlineError):
        return "timeout"
    if isinstance(error, MalformedError):
        return "malformed"
    code = error.code if isinstance(error, RefusedError) else ""
    if code and code != "UNAVAILABLE":
        return f"grpc {code.lower()}"
    return "dropped" if stream.pieces or isinstance(error, DroppedError) else "refused"

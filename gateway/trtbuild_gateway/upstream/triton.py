"""A model of a Triton server, over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Mapping, Sequence
from urllib.parse import quote

import msgspec

from trtbuild.signature import ServedModel
from trtbuild.signature.dialects import Dialect
from trtbuild.signature.requests import GenerateRequest, TaskAnswer, TaskRequest
from trtbuild.wire import kserve
from trtbuild.wire.failures import DroppedError
from trtbuild.wire.tensors import InferRequest, Outputs
from trtbuild.wire.triton_http import TritonHttp
from trtbuild_gateway.seams import Take, TextSink
from trtbuild_gateway.upstream.events import BrokenError, decoder, is_plain
from trtbuild_gateway.upstream.open_requests import OpenRequests
from trtbuild_gateway.upstream.packets import PacketReader

_AT_ONCE = 16
"""Parts of a request that may be under way together."""


class TritonModel:
    """One model of one server; a :class:`~trtbuild_gateway.seams.Backend`."""

    def __init__(
        self,
        wire: TritonHttp,
        served: ServedModel,
        dialect: Dialect,
        *,
        seconds: float,
        requests: OpenRequests | None = None,
    ) -> None:
        self.served = served
        self.requests = OpenRequests(served.name) if requests is None else requests
        self._wire = wire
        self._dialect = dialect
        self._seconds = seconds
        self._path = f"/v2/models/{quote(served.name, safe='')}"

    async def relay(
        self,
        request: GenerateRequest,
        headers: Mapping[str, str],
        take: Take,
        sink: TextSink | None = None,
    ) -> None:
        """See :class:`~trtbuild_gateway.seams.Backend`."""
        (sent,) = self._dialect.requests(self.served, request)
        logprobs = request.sampling.wants_logprobs
        decode = decoder(self.served, self._dialect, logprobs=logprobs)
        plain = is_plain(self.served, self._dialect, logprobs=logprobs)
        packets = PacketReader(sink) if sink is not None and plain else None
        body = msgspec.json.encode(kserve.generate_body(sent))
        answered = False

        def on_batch(events: list[bytes]) -> Awaitable[None] | None:
            nonlocal answered
            answered = True
            try:
                chunks = decode(events)
            except BrokenError as broken:
                waiting = take(broken.chunks) if broken.chunks else None
                if waiting is not None:
                    return _then_raise(waiting, broken.cause)
                raise broken.cause from None
            waiting = take(chunks)
            if packets is not None and waiting is None:
                packets.learn(events, chunks)
            return waiting

        path = f"{self._path}/generate_stream"
        with self.requests.one():
            await self._wire.push_events(
                "POST",
                path,
                on_batch,
                on_raw=None if packets is None else packets.take,
                body=body,
                headers=headers,
                seconds=self._seconds,
            )
        if not answered:
            raise DroppedError("the server sent no response", answered=True)

    async def ask(
        self, request: TaskRequest, headers: Mapping[str, str] | None = None
    ) -> TaskAnswer:
        """See :class:`~trtbuild_gateway.seams.Backend`."""
        free = asyncio.Semaphore(_AT_ONCE)

        async def infer(part: InferRequest) -> Outputs:
            async with free:
                return await self._infer(part, headers)

        with self.requests.one():
            asked = [asyncio.ensure_future(infer(p)) for p in self._parts(request)]
            try:
                responses = await asyncio.gather(*asked)
            finally:
                for one in asked:  # the first error cancels the others
                    one.cancel()
                await asyncio.gather(*asked, return_exceptions=True)
        return self._dialect.answer(self.served, request, responses)

    def _parts(self, request: TaskRequest) -> Sequence[InferRequest]:
        return self._dialect.requests(self.served, request)

    async def _infer(self, request: InferRequest, headers: Mapping[str, str] | None) -> Outputs:
        """Return the only response. The infer endpoint refuses decoupled models, and the generate
        endpoint has no batches."""
        if not self.served.decoupled:
            name = self.served.name
            answer = await self._wire.infer(name, request, headers=headers, seconds=self._seconds)
            return answer.outputs
        body = kserve.generate_body(request)
        events = self._wire.generate_stream(
            self.served.name, body, headers=headers, seconds=self._seconds
        )
        async with contextlib.aclosing(events):
            found = [kserve.generate_outputs(event) async for event in events]
        return found[-1] if found else {}


async def _then_raise(waiting: Awaitable[None], error: Exception) -> None:
    await waiting
    raise error

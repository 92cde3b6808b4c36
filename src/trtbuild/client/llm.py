"""One interface over protocols and request schemas, with and without asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from contextlib import aclosing
from dataclasses import replace
from typing import Self

from trtbuild.client import failures
from trtbuild.client.many import AT_ONCE, in_order
from trtbuild.client.transport import DescribedModel, Protocol, Transport
from trtbuild.client.values import Answer, collect, prompt_text
from trtbuild.signature import ServedModel, dialect_of
from trtbuild.signature.dialects import Dialect
from trtbuild.signature.requests import Chunk, GenerateRequest, TaskAnswer, TaskRequest
from trtbuild.signature.sampling import Sampling
from trtbuild.wire.blocking import iterate, run
from trtbuild.wire.tensors import InferRequest, Outputs

_METADATA_SECONDS = 10.0

Card = Callable[[str], ServedModel | None]


class AsyncLLMClient:
    """A client of one server; every method belongs to one event loop.

    Args:
        url: ``HOST:PORT`` of the protocol; with ``https://`` before it by TLS.
        protocol: ``grpc`` or ``http``.
        card: What is known of a model by name beside what the server says; None for nothing.

    Raises:
        ServerError: From every method, when the server does not answer or refuses.
    """

    def __init__(self, url: str, protocol: Protocol = "grpc", card: Card = lambda _: None) -> None:
        self.url = url.removeprefix("http://").rstrip("/")
        self.protocol = protocol
        self._card = card
        self._known: dict[str, ServedModel] = {}
        self._transport = Transport(self.url, protocol)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection."""
        await self._transport.close()

    async def models(self) -> list[str]:
        """Names of the models that are ready."""
        return await self._transport.models()

    async def ready(self, name: str) -> bool:
        """Whether the server says so; False while nothing answers."""
        return await self._transport.ready(name)

    async def describe(self, name: str, timeout: float = _METADATA_SECONDS) -> DescribedModel:
        """Ask the server for a model's metadata and configuration."""
        return await self._transport.describe(name, timeout, self._card(name))

    async def generate(
        self,
        model: str,
        prompt: str | bytes,
        sampling: Sampling | None = None,
        *,
        stream: bool = True,
        timeout: float = 300,
    ) -> AsyncGenerator[Chunk, None]:
        """See :meth:`LLMClient.generate`."""
        request = GenerateRequest(prompt_text(prompt), sampling or Sampling(), stream)
        async with aclosing(self.stream(model, request, timeout=timeout)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def stream(
        self, model: str, request: GenerateRequest, *, timeout: float = 300, request_id: str = ""
    ) -> AsyncGenerator[Chunk, None]:
        """See :meth:`LLMClient.stream`; HTTP's generate endpoint gets no ``request_id``."""
        served, dialect = await self._called(model, timeout)
        asked = replace(dialect.requests(served, request)[0], id=request_id)
        read = dialect.reader(served)
        responses = self._transport.responses(model, asked, timeout, stream=request.stream)
        async with aclosing(responses):
            answered = False
            async for outputs in responses:
                answered = answered or not outputs.keys().isdisjoint(dialect.required[1])
                yield read(outputs)
        if not answered and dialect.required[1]:
            reason = f"no response had {' or '.join(dialect.required[1])}"
            raise failures.broken_off(self.url, reason)

    async def ask(
        self, model: str, request: TaskRequest, *, timeout: float = 300, request_id: str = ""
    ) -> TaskAnswer:
        """See :meth:`LLMClient.ask`."""
        served, dialect = await self._called(model, timeout)
        free = asyncio.Semaphore(AT_ONCE)

        async def infer(request: InferRequest) -> Outputs:
            async with free:
                sent = replace(request, id=request_id)
                return await self._transport.infer(model, sent, timeout, decoupled=served.decoupled)

        asked = [asyncio.ensure_future(infer(one)) for one in dialect.requests(served, request)]
        try:
            responses = await asyncio.gather(*asked)
        finally:
            for one in asked:  # the first error cancels the others
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        return dialect.answer(served, request, responses)

    def answers(
        self, model: str, requests: Iterable[TaskRequest], *, timeout: float = 300
    ) -> AsyncGenerator[TaskAnswer | Answer, None]:
        """See :meth:`LLMClient.answers`."""

        async def answer(request: TaskRequest) -> TaskAnswer | Answer:
            if not isinstance(request, GenerateRequest):
                return await self.ask(model, request, timeout=timeout)
            async with aclosing(self.stream(model, request, timeout=timeout)) as chunks:
                return collect([chunk async for chunk in chunks])

        return in_order(answer, requests)

    async def served(self, model: str, timeout: float = _METADATA_SECONDS) -> ServedModel:
        """Return the model's description, with a timeout of ten seconds."""
        if model not in self._known:
            seconds = min(timeout, _METADATA_SECONDS)
            self._known[model] = (await self.describe(model, seconds)).served
        return self._known[model]

    async def _called(self, model: str, timeout: float) -> tuple[ServedModel, Dialect]:
        served = await self.served(model, timeout)
        dialect = dialect_of(served)
        if dialect is None:
            raise failures.not_callable(model)
        return served, dialect


class LLMClient:
    """:class:`AsyncLLMClient` for code without an event loop: the same arguments and errors."""

    def __init__(self, url: str, protocol: Protocol = "grpc", card: Card = lambda _: None) -> None:
        self._client = AsyncLLMClient(url, protocol, card)
        self.url = self._client.url
        self.protocol = protocol

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        run(self._client.close())

    def models(self) -> list[str]:
        """Names of the models that are ready."""
        return run(self._client.models())

    def ready(self, name: str) -> bool:
        """Whether the server says so; False while nothing answers."""
        return run(self._client.ready(name))

    def describe(self, name: str, timeout: float = _METADATA_SECONDS) -> DescribedModel:
        """Ask the server for a model's metadata and configuration."""
        return run(self._client.describe(name, timeout))

    def generate(
        self,
        model: str,
        prompt: str | bytes,
        sampling: Sampling | None = None,
        *,
        stream: bool = True,
        timeout: float = 300,
    ) -> Generator[Chunk, None, None]:
        """Yield chunks of the answer as they come; closing the iterator cancels the request.

        Args:
            model: Name of a served LLM.
            prompt: Text; bytes must be UTF-8.
            sampling: Sampling settings.
            stream: False asks the server for one response.
            timeout: Seconds to wait for the whole answer.

        Raises:
            UsageError: a prompt that is not UTF-8.
            ServerError: no server, no such model, a refused request, no answer in time.
        """
        yield from iterate(
            self._client.generate(model, prompt, sampling, stream=stream, timeout=timeout)
        )

    def stream(
        self, model: str, request: GenerateRequest, *, timeout: float = 300
    ) -> Generator[Chunk, None, None]:
        """Like :meth:`generate`, for a request with images or other settings."""
        yield from iterate(self._client.stream(model, request, timeout=timeout))

    def answers(
        self, model: str, requests: Iterable[TaskRequest], *, timeout: float = 300
    ) -> Generator[TaskAnswer | Answer, None, None]:
        """Yield an answer to each request, in order; several are under way at a time.

        Raises:
            UsageError: The model does not support a request.
            ServerError: As :meth:`ask`; answers to earlier requests were yielded.
        """
        yield from iterate(self._client.answers(model, requests, timeout=timeout))

    def answer(
        self,
        model: str,
        prompt: str | bytes,
        sampling: Sampling | None = None,
        *,
        stream: bool = True,
        timeout: float = 300,
    ) -> Answer:
        """Return the whole answer."""
        return collect(self.generate(model, prompt, sampling, stream=stream, timeout=timeout))

    def ask(self, model: str, request: TaskRequest, *, timeout: float = 300) -> TaskAnswer:
        """Return the answer to a request of any task except generation.

        Raises:
            UsageError: the model does not support the request.
            ServerError: as :meth:`generate`; an answer that does not fit the request.
        """
        return run(self._client.ask(model, request, timeout=timeout))

    def try_out(self, model: str, *, timeout: float) -> None:
        """Send a model a cheap request; ServerError if it does not answer. A model without a
        request schema gets none."""
        served = self.served(model)
        dialect = dialect_of(served)
        if dialect is None:
            return
        request = dialect.example(served)
        if isinstance(request, GenerateRequest):
            self.answer(model, request.prompt, request.sampling, timeout=timeout)
        else:
            self.ask(model, request, timeout=timeout)

    def served(self, model: str, timeout: float = _METADATA_SECONDS) -> ServedModel:
        """Return the model's description."""
        return run(self._client.served(model, timeout))

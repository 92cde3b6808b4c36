"""Shared by both protocols of Triton: finding the model, building requests, reading responses."""

from __future__ import annotations

import typing
from dataclasses import KW_ONLY, dataclass, field

from trtbuild.client import AsyncLLMClient, Sampling
from trtbuild.client.failures import LateError, NoAnswerError, not_callable
from trtbuild.client.transport import Protocol
from trtbuild.signature import ServedModel, dialect_of
from trtbuild.signature.dialects import Dialect
from trtbuild.signature.requests import GenerateRequest
from trtbuild.wire.tensors import InferRequest, Outputs
from trtbuild_measure.bench.model import Generation, Prompt, Stream
from trtbuild_measure.bench.targets.pooling import PoolingModel
from trtbuild_measure.bench.targets.streaming import unreachable


async def find_model(
    url: str,
    model: str,
    protocol: Protocol,
    generation: Generation,
    *,
    timeout: float,
    card: ServedModel | None = None,
) -> TritonModel | PoolingModel:
    """Return the model as its server describes it.

    Args:
        url: ``HOST:PORT``.
        model: Its name.
        protocol: ``grpc`` or ``http``.
        generation: The settings, if it generates text.
        timeout: Seconds for a whole answer.
        card: What the model's files say, if they are on this machine: a server does not tell a
            pooling vLLM from a generating one.

    Raises:
        ServerError: No server, no such model, or no matching request schema.
    """
    try:
        async with AsyncLLMClient(url, protocol, lambda _: card) as client:
            served = await client.served(model)
    except NoAnswerError as error:
        raise unreachable(url, error.where) from None
    except LateError as error:  # whose fixes are meant for ``infer``
        raise unreachable(url, error.what) from None
    dialect = dialect_of(served)
    if dialect is None:
        raise not_callable(model)
    if served.task.makes_text:
        return TritonModel(served, dialect, generation)
    return PoolingModel(served, dialect, url, protocol, timeout)


class TritonModel:
    """A served model that generates text, with its request schema."""

    def __init__(self, served: ServedModel, dialect: Dialect, generation: Generation) -> None:
        self.served = served
        self.dialect = dialect
        self._generation = generation

    def ignored(self) -> tuple[str, ...]:
        """Sampling values that the model has no input for."""
        asked = Sampling(temperature=self._generation.temperature, seed=self._generation.seed)
        ignored = self.dialect.ignored(self.served, GenerateRequest("", asked))
        return tuple(name for name in ignored if name != "max_tokens")

    def request(self, prompt: Prompt) -> InferRequest:
        """Return the request for a prompt."""
        generation = self._generation
        sampling = Sampling(
            max_tokens=prompt.max_tokens,
            temperature=generation.temperature,
            seed=generation.seed,
            ignore_eos=generation.forced,
        )
        (one,) = self.dialect.requests(self.served, GenerateRequest(prompt.text, sampling))
        return one


class Reader:
    """Turns the responses to one request into chunks."""

    def __init__(self, model: TritonModel, stream: Stream) -> None:
        self._read = model.dialect.reader(model.served)
        self._stream = stream

    def response(self, now: float, outputs: Outputs) -> None:
        """Read one response."""
        chunk = self._read(outputs)
        stream = self._stream
        stream.piece(now, chunk.text, chunk.output_tokens)
        if chunk.output_tokens is not None:
            stream.output_tokens = (stream.output_tokens or 0) + chunk.output_tokens
        stream.input_tokens = chunk.input_tokens or stream.input_tokens
        stream.finish_reason = chunk.finish_reason or stream.finish_reason


class Exchange(typing.Protocol):
    """How one protocol answers a prompt."""

    protocol: Protocol

    async def generate(self, model: TritonModel, stream: Stream) -> None:
        """Send one prompt and fill ``stream``; never raises for a failed request."""

    async def close(self) -> None:
        """Close the connections."""


@dataclass(slots=True)
class TritonTarget:
    """A served model.

    Args:
        name: Its name in results.
        url: ``HOST:PORT``.
        model: The model's name at the server.
        generation: Generation settings.
        exchange: The protocol.
        timeout: Seconds to wait for a whole answer.
        card: See :func:`find_model`.
    """

    name: str
    url: str
    model: str
    generation: Generation
    exchange: Exchange
    _: KW_ONLY
    timeout: float
    card: ServedModel | None = None
    ignored: tuple[str, ...] = field(default=(), init=False)
    _served: TritonModel | PoolingModel | None = field(default=None, init=False)

    @property
    def pooling(self) -> bool:
        """Whether the model generates no text; known once it is open."""
        return isinstance(self._served, PoolingModel)

    async def open(self) -> None:
        """See :class:`~trtbuild_measure.bench.model.BenchTarget`."""
        self._served = await find_model(
            self.url,
            self.model,
            self.exchange.protocol,
            self.generation,
            timeout=self.timeout,
            card=self.card,
        )
        if isinstance(self._served, TritonModel):
            self.ignored = self._served.ignored()

    async def ask(self, stream: Stream) -> None:
        """See :class:`~trtbuild_measure.bench.model.BenchTarget`."""
        assert self._served is not None
        if isinstance(self._served, PoolingModel):
            await self._served.ask(stream)
        else:
            await self.exchange.generate(self._served, stream)

    async def close(self) -> None:
        """See :class:`~trtbuild_measure.bench.model.BenchTarget`."""
        if isinstance(self._served, PoolingModel):
            await self._served.close()
        await self.exchange.close()

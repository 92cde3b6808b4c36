"""Generated answers: several at once, their counts, and why each ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trtbuild.signature.requests import Chunk, GenerateRequest
from trtbuild.wire.failures import DroppedError
from trtbuild_gateway.seams import Backend

_REASONS = {"stop": "stop", "length": "length", "eos": "stop", "end_id": "stop"}
_BUFFERED = 64  # batches of all answers together

Batch = tuple[int, Sequence[Chunk]]


@dataclass(slots=True)
class Choice:
    """One answer.

    Attributes:
        index: Its place in the answer.
        limit: The most tokens that were asked for.
        reports_reason: Whether the model says why it ended.
        prompt_tokens, completion_tokens: Counts; None if the model does not send them.
        chunks: How many had text.
        reason: The model's reason; empty before the end.
    """

    index: int
    limit: int
    reports_reason: bool = True
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    chunks: int = 0
    reason: str = ""
    parts: list[str] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)
    prompt_logprobs: Sequence[Any] = ()

    def take(self, chunk: Chunk) -> None:
        """Count a chunk."""
        if chunk.output_tokens is not None:
            self.completion_tokens = (self.completion_tokens or 0) + chunk.output_tokens
        if chunk.input_tokens is not None:
            self.prompt_tokens = chunk.input_tokens
        if chunk.finish_reason:
            self.reason = chunk.finish_reason
        if chunk.text:
            self.chunks += 1

    def keep(self, chunk: Chunk) -> None:
        """Count a chunk and keep its content."""
        self.take(chunk)
        self.parts.append(chunk.text)
        self.logprobs += chunk.logprobs
        self.prompt_logprobs = chunk.prompt_logprobs or self.prompt_logprobs

    @property
    def text(self) -> str:
        """The text that was kept."""
        return "".join(self.parts)

    @property
    def tokens(self) -> int:
        """Tokens of the answer: the model's count, or that of its chunks."""
        return self.chunks if self.completion_tokens is None else self.completion_tokens

    def finish_reason(self) -> str:
        """Return OpenAI's reason at the end of the stream.

        Raises:
            DroppedError: The answer is not complete.
        """
        if self.reason in _REASONS:
            return _REASONS[self.reason]
        if self.reason:
            raise DroppedError(f"the engine ended it: {self.reason}", answered=True)
        if self.reports_reason:
            raise DroppedError("it ended without a reason", answered=True)
        return "length" if self.tokens >= self.limit else "stop"


async def generated(
    backend: Backend, requests: Sequence[GenerateRequest], headers: Mapping[str, str]
) -> AsyncGenerator[Batch, None]:
    """Yield the chunks of all requests as they come, with the number of the request.

    The first error ends all of them, as does closing the generator.
    """
    if len(requests) > 1:
        several = _merged(backend, requests, headers)
        async with contextlib.aclosing(several):
            async for found in several:
                yield found
        return
    batches = backend.generate(requests[0], headers)
    async with contextlib.aclosing(batches):
        async for batch in batches:
            yield 0, batch


async def _merged(
    backend: Backend, requests: Sequence[GenerateRequest], headers: Mapping[str, str]
) -> AsyncGenerator[Batch, None]:
    arrived: asyncio.Queue[Batch | Exception | None] = asyncio.Queue(_BUFFERED)

    async def read(number: int) -> None:
        try:
            batches = backend.generate(requests[number], headers)
            async with contextlib.aclosing(batches):
                async for batch in batches:
                    await arrived.put((number, batch))
        except Exception as error:
            await arrived.put(error)
        else:
            await arrived.put(None)

    readers = [asyncio.create_task(read(number)) for number in range(len(requests))]
    open_ones = len(readers)
    try:
        while open_ones:
            found = await arrived.get()
            if isinstance(found, Exception):
                raise found
            if found is None:
                open_ones -= 1
            else:
                yield found
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)

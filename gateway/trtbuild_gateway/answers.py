"""Generated answers: several at once, their counts, and why each ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from trtbuild.signature.requests import Chunk, GenerateRequest
from trtbuild.wire.failures import DroppedError
from trtbuild_gateway.seams import Backend, TextSink

_REASONS = {"stop": "stop", "length": "length", "eos": "stop", "end_id": "stop"}

TakeNumbered = Callable[[int, Sequence[Chunk]], Awaitable[None] | None]


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
        first, last: ``time.monotonic()`` at the first and the last token; 0.0 before.
        at_first: How many arrived at once with the first.
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
    first: float = 0.0
    last: float = 0.0
    at_first: int = 0

    def arrived(self, chunks: Sequence[Chunk]) -> None:
        """Note the time of chunks that have just arrived; one without a token does not count."""
        for chunk in chunks:
            if chunk.text or chunk.output_tokens:
                break
        else:
            return
        self.last = time.monotonic()
        if not self.first:
            self.first = self.last
            for text, _, output, *_ in chunks:
                self.at_first += bool(text) if output is None else output

    def take(self, chunk: Chunk) -> None:
        """Count a chunk."""
        self.texts((chunk,))

    def texts(self, chunks: Sequence[Chunk]) -> list[str]:
        """Count chunks, and return their texts without empty ones."""
        texts = []
        counted = self.completion_tokens
        for text, reason, output, prompt, _, _ in chunks:
            if text:
                texts.append(text)
            if output is not None:
                counted = (counted or 0) + output
            if prompt is not None:
                self.prompt_tokens = prompt
            if reason:
                self.reason = reason
        self.completion_tokens = counted
        self.chunks += len(texts)
        return texts

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

    @property
    def openai_reason(self) -> str:
        """The model's reason in OpenAI's words, if it has one."""
        return _REASONS.get(self.reason, self.reason)

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


async def generate_all(
    backend: Backend,
    requests: Sequence[GenerateRequest],
    headers: Mapping[str, str],
    take: TakeNumbered,
    sinks: Sequence[TextSink] | None = None,
) -> None:
    """Give the chunks of all requests to ``take`` as they come, with the number of the request, or
    to the request's own sink.

    The first error ends all of them and is raised; so does cancelling it.
    """
    if len(requests) == 1:
        await backend.relay(requests[0], headers, partial(take, 0), sinks[0] if sinks else None)
        return
    of_each: Sequence[TextSink | None] = sinks or [None] * len(requests)
    readers = [
        asyncio.ensure_future(backend.relay(request, headers, partial(take, number), sink))
        for number, (request, sink) in enumerate(zip(requests, of_each, strict=True))
    ]
    try:
        await asyncio.gather(*readers)
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)

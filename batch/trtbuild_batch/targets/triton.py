"""A model of a Triton server, by its request schema."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from trtbuild import lockfile
from trtbuild.client import AsyncLLMClient, NotServedError, collect
from trtbuild.client.failures import (
    LateError,
    NoAnswerError,
    RefusedRequestError,
    TooLongError,
)
from trtbuild.client.transport import Protocol
from trtbuild.errors import ServerError, TrtbuildError, UsageError
from trtbuild.pipeline.asking import open_chat
from trtbuild.server_records import running_servers
from trtbuild.signature.requests import (
    EmbedAnswer,
    EmbedRequest,
    GenerateRequest,
    RerankAnswer,
    RerankRequest,
)
from trtbuild_batch.asking import Call, Conversation, Question
from trtbuild_batch.engine import CallError, Kind, Outcome
from trtbuild_batch.targets.identity import REQUEST, identified
from trtbuild_batch.targets.openai import kind_of_status


class TritonTarget:
    """Calls one model of a server.

    Args:
        url: ``HOST:PORT`` of the protocol.
        model: The model's name.
        protocol: ``grpc`` or ``http``.
        timeout: Seconds for a whole answer.
    """

    def __init__(self, url: str, model: str, protocol: Protocol, *, timeout: float) -> None:
        self.url = url
        self.model = model
        self._timeout = timeout
        self._lock = _lock_of(url, protocol)
        self._client = AsyncLLMClient(url, protocol, self._lock.card)
        self._chat: Callable[[Sequence[Mapping[str, str]]], str] | None = None

    async def open(self) -> Mapping[str, Any]:
        """Check that the model is served; return the key of its conversion, if the repository is
        on this machine.

        Raises:
            ServerError: It is not.
        """
        await self._client.served(self.model)
        known = self._lock.models.get(self.model)
        return {"conversion": known.key} if known else {}

    async def alive(self) -> bool:
        """Whether the server says that the model is ready."""
        return await self._client.ready(self.model)

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()

    async def ask(self, question: Question) -> Outcome:
        """Return the answer. CallError without one."""
        with identified({}, traced=False) as given:
            try:
                return await self._ask(question, given[REQUEST])
            except TrtbuildError as error:
                raise _call_error(error) from None

    async def _ask(self, question: Question, request: str) -> Outcome:
        if isinstance(question, Conversation):
            prompt = self._rendered(question)
            question = GenerateRequest(prompt, question.sampling)
        if isinstance(question, GenerateRequest):
            return await self._generated(question, request)
        if isinstance(question, EmbedRequest):
            return (await self._embedded(question, request))[0]
        if isinstance(question, RerankRequest):
            return await self._ranked(question, request)
        assert isinstance(question, Call)
        raise CallError(Kind.REFUSED, "Triton does not speak OpenAI's API", fatal=True)

    async def embed(self, request: EmbedRequest) -> list[Outcome]:
        """Return a vector for each text. CallError without them."""
        with identified({}, traced=False) as given:
            try:
                return await self._embedded(request, given[REQUEST])
            except TrtbuildError as error:
                raise _call_error(error) from None

    async def _embedded(self, question: EmbedRequest, request: str) -> list[Outcome]:
        answer = await self._client.ask(
            self.model, question, timeout=self._timeout, request_id=request
        )
        if not isinstance(answer, EmbedAnswer):
            raise _other_task("dense vectors")
        counts = answer.token_counts or (None,) * len(answer.vectors)
        return [
            Outcome(_packed(vector), "", count)
            for vector, count in zip(answer.vectors, counts, strict=True)
        ]

    async def _ranked(self, question: RerankRequest, request: str) -> Outcome:
        answer = await self._client.ask(
            self.model, question, timeout=self._timeout, request_id=request
        )
        if not isinstance(answer, RerankAnswer):
            raise _other_task("scores")
        scores = [one.score for one in sorted(answer.results, key=lambda one: one.index)]
        return Outcome(_packed(scores), "", sum(answer.token_counts) or None)

    async def _generated(self, question: GenerateRequest, request: str) -> Outcome:
        # Over HTTP a decoupled model that always streams has no whole answer.
        asked = replace(question, stream=self._client.protocol == "http")
        found = self._client.stream(self.model, asked, timeout=self._timeout, request_id=request)
        async with aclosing(found) as chunks:
            answer = collect([chunk async for chunk in chunks])
        return Outcome(answer.text, answer.finish_reason, answer.input_tokens, answer.output_tokens)

    def _rendered(self, question: Conversation) -> str:
        if self._chat is None:
            self._chat = open_chat(self.model).prompt
        return self._chat(question.messages)


def _lock_of(url: str, protocol: Protocol) -> lockfile.Lock:
    """Return the lock of the repository that a server of this machine serves there."""
    from pathlib import Path

    for server in running_servers():
        if server.url(protocol) == url:
            return lockfile.read(Path(server.repo))
    return lockfile.Lock()


def _other_task(wanted: str) -> CallError:
    return CallError(Kind.REFUSED, f"the model does not answer with {wanted}", fatal=True)


def _packed(numbers: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


def _call_error(error: TrtbuildError) -> CallError:
    """Return the failure of one call for an error of the client."""
    message = f"{error.what} ({error.where})" if error.where else error.what
    if isinstance(error, RefusedRequestError):
        kind = kind_of_status(error.status or 400, error.what)
        kind = Kind.CONTEXT if isinstance(error, TooLongError) else kind
        return CallError(kind, message, retry_after=error.retry_after)
    if isinstance(error, NotServedError):
        return CallError(Kind.UNAVAILABLE, message)  # it may be loaded again
    if isinstance(error, NoAnswerError):
        return CallError(Kind.CONNECTION, message)
    if isinstance(error, LateError):
        return CallError(Kind.TIMEOUT, message)
    if isinstance(error, UsageError):
        return CallError(Kind.INPUT, message)
    fatal = isinstance(error, ServerError)  # no request schema fits the model
    return CallError(Kind.REFUSED, message, fatal=fatal)

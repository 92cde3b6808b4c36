"""One interface over protocols and request schemas."""

from __future__ import annotations

from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, Literal, Self

from trtbuild.client import failures
from trtbuild.client.metadata import ModelMetadata
from trtbuild.client.values import Answer, collect, prompt_text
from trtbuild.signature import ServedModel, dialect_of
from trtbuild.signature.dialects import Dialect
from trtbuild.signature.requests import (
    Chunk,
    GenerateRequest,
    Sampling,
    TaskAnswer,
    TaskRequest,
)

Protocol = Literal["grpc", "http"]


class LLMClient:
    """A client of one server.

    Args:
        url: ``HOST:PORT`` of the protocol, without a scheme.
        protocol: ``grpc`` or ``http``.
        card: What is known of a model by name beside what the server says; None for nothing.

    Raises:
        ServerError: from every method, when the server does not answer or refuses.
    """

    def __init__(
        self,
        url: str,
        protocol: Protocol = "grpc",
        card: Callable[[str], ServedModel | None] = lambda _: None,
    ) -> None:
        self.url = url.split("://", 1)[-1].rstrip("/")
        self.protocol = protocol
        self._card = card
        self._known: dict[str, ServedModel] = {}
        self._transport: Any
        if protocol == "grpc":
            from trtbuild.client.grpc_transport import GrpcTransport

            self._transport = GrpcTransport(self.url)
        else:
            from trtbuild.client.http_transport import HttpTransport

            self._transport = HttpTransport(self.url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._transport.close()

    def models(self) -> list[str]:
        """Names of the models that are ready."""
        return list(self._transport.models())

    def ready(self, name: str) -> bool:
        """Whether the server says so; False while nothing answers."""
        return bool(self._transport.ready(name))

    def metadata(self, name: str, timeout: float = 10) -> ModelMetadata:
        """Inputs and outputs of a model."""
        found: ModelMetadata = self._transport.metadata(name, timeout, self._card(name))
        return found

    def generate(
        self,
        model: str,
        prompt: str | bytes,
        sampling: Sampling | None = None,
        *,
        stream: bool = True,
        timeout: float = 300,
    ) -> Generator[Chunk, None, None]:
        """Pieces of the answer as they come; closing the iterator cancels on the server.

        Args:
            model: Name of a served LLM.
            prompt: Text; bytes must be UTF-8.
            sampling: How to generate.
            stream: False asks the server for one response.
            timeout: Seconds for the whole answer.

        Raises:
            UsageError: a prompt that is not UTF-8.
            ServerError: no server, no such model, a refused request, no answer in time.
        """
        text = prompt_text(prompt)
        served, dialect = self._called(model)
        (request,) = dialect.requests(served, GenerateRequest(text, sampling or Sampling(), stream))
        read = dialect.reader(served)
        responses = self._transport.responses(model, request, timeout, stream=stream)
        try:
            for outputs in responses:
                yield read(outputs)
        finally:
            responses.close()

    def answer(
        self,
        model: str,
        prompt: str | bytes,
        sampling: Sampling | None = None,
        *,
        stream: bool = True,
        timeout: float = 300,
    ) -> Answer:
        """The whole answer."""
        return collect(self.generate(model, prompt, sampling, stream=stream, timeout=timeout))

    def ask(self, model: str, request: TaskRequest, *, timeout: float = 300) -> TaskAnswer:
        """The answer to a request of any task but generation.

        Raises:
            UsageError: the model cannot do what is asked.
            ServerError: as :meth:`generate`; an answer that does not fit the request.
        """
        served, dialect = self._called(model)
        responses = [
            self._transport.infer(model, one, timeout, decoupled=served.decoupled)
            for one in dialect.requests(served, request)
        ]
        return dialect.answer(served, request, responses)

    def try_out(self, model: str, *, timeout: float) -> None:
        """Ask a model something cheap; ServerError when it does not answer. Nothing is asked of a
        model that no request schema fits."""
        served = self.served(model)
        dialect = dialect_of(served)
        if dialect is None:
            return
        request = dialect.example(served)
        if isinstance(request, GenerateRequest):
            self.answer(model, request.prompt, request.sampling, timeout=timeout)
        else:
            self.ask(model, request, timeout=timeout)

    def served(self, model: str) -> ServedModel:
        """The model's description."""
        if model not in self._known:
            self._known[model] = self.metadata(model).served
        return self._known[model]

    def _called(self, model: str) -> tuple[ServedModel, Dialect]:
        served = self.served(model)
        dialect = dialect_of(served)
        if dialect is None:
            raise failures.not_callable(model)
        return served, dialect

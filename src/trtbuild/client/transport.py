"""Both protocols of Triton behind one interface, with errors that have a fix."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Literal, NamedTuple

from trtbuild.client import failures
from trtbuild.errors import TrtbuildError, UsageError
from trtbuild.signature import ServedModel, of_server
from trtbuild.wire import kserve
from trtbuild.wire.failures import (
    UNREADABLE,
    DeadlineError,
    RefusedError,
    UnreachableError,
    WireError,
)
from trtbuild.wire.records import ModelMetadata
from trtbuild.wire.tensors import InferRequest, Outputs, TensorError
from trtbuild.wire.triton_grpc import TritonGrpc
from trtbuild.wire.triton_http import TritonHttp

Protocol = Literal["grpc", "http"]

_ADMIN_SECONDS = 10.0
_READY_SECONDS = 5.0


class DescribedModel(NamedTuple):
    """A model of a server: its raw metadata and its description."""

    metadata: ModelMetadata
    served: ServedModel


class Transport:
    """One server at ``HOST:PORT``, or ``https://…``, over one protocol; raises ServerErrors."""

    def __init__(self, url: str, protocol: Protocol) -> None:
        self.url = url
        self._wire: TritonGrpc | TritonHttp
        try:
            of_grpc = url.replace("https://", "grpcs://")
            self._wire = TritonGrpc(of_grpc) if protocol == "grpc" else TritonHttp(url)
        except ValueError as error:
            raise UsageError(
                f"{url!r} is not the address of a server",
                where=str(error),
                fix="write --url HOST:PORT, such as 127.0.0.1:8001",
            ) from None

    async def close(self) -> None:
        """Close the connections: an open one would delay a server's exit."""
        await self._wire.close()

    async def describe(
        self, name: str, timeout: float, card: ServedModel | None = None
    ) -> DescribedModel:
        """Request a model's metadata and configuration; ``card``: a description from elsewhere."""
        async with self._errors(name, timeout):
            metadata = await self._wire.metadata(name, seconds=timeout)
            config = await self._wire.config(name, seconds=timeout)
        try:
            return DescribedModel(metadata, of_server(metadata, config, card))
        except UNREADABLE:
            reason = f"not a model's configuration: {str(config)[:200]}"
            raise failures.broken_off(self.url, reason) from None

    async def models(self) -> list[str]:
        """Return the names of the models that are ready."""
        async with self._errors("", _ADMIN_SECONDS):
            index = await self._wire.index(seconds=_ADMIN_SECONDS)
        return sorted({entry.name for entry in index if entry.state == "READY"})

    async def ready(self, name: str) -> bool:
        """Whether the server reports the model as ready; False if nothing answers."""
        try:
            return await self._wire.ready(name, seconds=_READY_SECONDS)
        except WireError:
            return False

    async def responses(
        self, model: str, request: InferRequest, timeout: float, *, stream: bool = True
    ) -> AsyncGenerator[Outputs, None]:
        """Yield responses as they come; closing the iterator cancels the request on the server.

        ``stream`` matters only over HTTP, where Triton has an endpoint for one response.
        """
        async with self._errors(model, timeout):
            if isinstance(self._wire, TritonGrpc):
                found = self._wire.stream_infer(model, request, seconds=timeout)
                async with contextlib.aclosing(found):
                    async for response in found:
                        if response.outputs:
                            yield response.outputs
            elif not stream:
                body = kserve.generate_body(request)
                yield kserve.generate_outputs(
                    await self._wire.generate(model, body, seconds=timeout)
                )
            else:
                body = kserve.generate_body(request)
                events = self._wire.generate_stream(model, body, seconds=timeout)
                async with contextlib.aclosing(events):
                    async for event in events:
                        yield kserve.generate_outputs(event)

    async def infer(
        self, model: str, request: InferRequest, timeout: float, *, decoupled: bool | None
    ) -> Outputs:
        """Return the only response to a request; empty if none came.

        Over HTTP the infer endpoint rejects decoupled models, and generate has no batches.
        """
        if decoupled or isinstance(self._wire, TritonGrpc):
            responses = self.responses(model, request, timeout, stream=False)
            async with contextlib.aclosing(responses):
                found = [outputs async for outputs in responses]
            return found[-1] if found else {}
        async with self._errors(model, timeout):
            return (await self._wire.infer(model, request, seconds=timeout)).outputs

    @contextlib.asynccontextmanager
    async def _errors(self, name: str, timeout: float) -> AsyncIterator[None]:
        try:
            yield
        except UnicodeEncodeError as error:
            raise UsageError(
                f"{error.object!r} is not valid text: it cannot be sent as UTF-8",
                fix="write the model's name and the texts in UTF-8",
            ) from None
        except (WireError, TensorError) as error:
            raise await self._error(name, error, timeout) from None

    async def _error(self, name: str, error: Exception, timeout: float) -> TrtbuildError:
        message = str(error)
        if isinstance(error, DeadlineError):
            return failures.timed_out(self.url, timeout)
        if isinstance(error, UnreachableError):
            return failures.unreachable(self.url, message)
        unknown = isinstance(error, RefusedError) and error.code == "NOT_FOUND"
        if name and (unknown or "unknown model" in message):
            return failures.unknown_model(self.url, name, await self.models())
        if isinstance(error, RefusedError):
            found = failures.refused(name, message)
            if isinstance(found, failures.RefusedRequestError):
                found.status, found.retry_after = error.status, error.retry_after
            return found
        if isinstance(error, TensorError):
            return failures.refused(name, message)
        return failures.broken_off(self.url, message)

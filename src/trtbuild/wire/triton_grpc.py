"""Triton over gRPC, with gRPC's asyncio API and serialized messages.

The generated stubs and their wrapping (a Python object for each tensor) are not used: without them
a stream of tokens takes half the time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Self

from trtbuild.wire import protobuf
from trtbuild.wire.direct import loopback
from trtbuild.wire.failures import MalformedError, RefusedError, WireError
from trtbuild.wire.grpc_failures import failure
from trtbuild.wire.records import IndexEntry, ModelMetadata
from trtbuild.wire.response import LIMIT
from trtbuild.wire.schema import message
from trtbuild.wire.tensors import InferRequest, InferResponse, TensorError
from trtbuild.wire.tls import Tls

_END_SECONDS = 2.0
_CONNECT_MS = 5000
_SERVICE = "/inference.GRPCInferenceService/"


class TritonGrpc:
    """A server's gRPC endpoint. Every method belongs to the event loop of the first call.

    Args:
        url: ``HOST:PORT``, or ``grpc://HOST:PORT``, or ``grpcs://…`` for TLS.
        headers: Metadata sent with each request.
        tls: For ``grpcs://``; if given, any ``url`` uses TLS.
        seconds: Default timeout of a whole call.
        limit: Maximum bytes of one message.
        environment: Use the environment's proxy, except for a server on this machine.

    Raises:
        WireError: From every method; see the classes of :mod:`trtbuild.wire.failures` for what
            happened.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        tls: Tls | None = None,
        seconds: float = 60,
        limit: int = LIMIT,
        environment: bool = True,
    ) -> None:
        scheme, _, place = url.rpartition("://")
        self.url = place.rstrip("/")
        self._tls = tls or (Tls() if scheme == "grpcs" else None)
        self._headers = tuple((name.lower(), value) for name, value in (headers or {}).items())
        self._seconds = seconds
        self._options = (
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", int(environment and not loopback(self.url))),
            # A client waiting for a server to start polls several times a second.
            ("grpc.initial_reconnect_backoff_ms", 100),
            # gRPC's name misleads: it is the time one attempt to connect may take. A busy server
            # can need more than 100 ms for the first frame; a closed port refuses at once.
            ("grpc.min_reconnect_backoff_ms", _CONNECT_MS),
            ("grpc.max_reconnect_backoff_ms", 1000),
        )
        self._channel: Any = None
        self._methods: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        channel, self._channel = self._channel, None
        self._methods = {}
        if channel is not None:
            await channel.close()

    async def live(self, *, seconds: float | None = None) -> bool:
        """Whether the server is up. WireError if nothing listens."""
        return bool((await self._call("ServerLive", {}, seconds)).live)

    async def ready(self, model: str = "", *, seconds: float | None = None) -> bool:
        """Whether a model, or the server with all its models, accepts requests.

        WireError while nothing listens.
        """
        named = {"name": model} if model else {}
        try:
            found = await self._call("ModelReady" if model else "ServerReady", named, seconds)
        except RefusedError:  # it does not know the model
            return False
        return bool(found.ready)

    async def metadata(self, model: str, *, seconds: float | None = None) -> ModelMetadata:
        """Return inputs and outputs of a model."""
        found = await self._call("ModelMetadata", {"name": model}, seconds)
        return ModelMetadata.read(protobuf.plain(found))

    async def config(self, model: str, *, seconds: float | None = None) -> dict[str, Any]:
        """Return the configuration completed by the server, by config.pbtxt's field names."""
        return protobuf.plain((await self._call("ModelConfig", {"name": model}, seconds)).config)

    async def index(self, *, ready: bool = False, seconds: float | None = None) -> list[IndexEntry]:
        """Return the models of the repository; with ``ready`` only those that accept requests."""
        found = await self._call("RepositoryIndex", {"ready": ready}, seconds)
        return [IndexEntry.read(protobuf.plain(row)) for row in found.models]

    async def load(
        self,
        model: str,
        parameters: Mapping[str, str | bytes] | None = None,
        *,
        seconds: float | None = None,
    ) -> None:
        """Load or reload a model; ``parameters``: ``config`` (JSON), ``file:…`` (bytes)."""
        request = message("RepositoryModelLoadRequest")(model_name=model)
        for name, value in (parameters or {}).items():
            if isinstance(value, bytes):
                request.parameters[name].bytes_param = value
            else:
                request.parameters[name].string_param = value
        await self._call("RepositoryModelLoad", request, seconds)

    async def unload(
        self, model: str, *, dependents: bool = False, seconds: float | None = None
    ) -> None:
        """Start to unload a model, with ``dependents`` the members of an ensemble too."""
        request = message("RepositoryModelUnloadRequest")(model_name=model)
        request.parameters["unload_dependents"].bool_param = dependents
        await self._call("RepositoryModelUnload", request, seconds)

    async def infer(
        self, model: str, request: InferRequest, *, seconds: float | None = None
    ) -> InferResponse:
        """Send a request and return the response; a decoupled model rejects it.

        Raises:
            TensorError: Data that does not fit its tensor.
        """
        sent = protobuf.encode_request(model, request)
        try:
            return protobuf.decode_response(await self._unary("ModelInfer", sent, seconds))
        except TensorError as error:
            raise MalformedError(str(error)) from None

    async def stream_infer(
        self, model: str, request: InferRequest, *, seconds: float | None = None
    ) -> AsyncGenerator[InferResponse, None]:
        """Yield responses of any model as they come; closing the generator cancels on the server.

        Raises:
            TensorError: Data that does not fit its tensor.
        """
        stream = self.stream_bytes(protobuf.encode_request(model, request), seconds=seconds)
        try:
            async for received in stream:
                try:
                    found = protobuf.decode_stream_response(received)
                except TensorError as error:
                    raise MalformedError(str(error)) from None
                if isinstance(found, str):
                    await ended(stream)
                    raise RefusedError(found, status=500)
                yield found
        finally:
            await stream.aclose()

    async def stream_bytes(
        self, request: bytes, *, seconds: float | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield each serialized ``ModelStreamInferResponse`` to a serialized request.

        For callers that read the clock before parsing; see :meth:`stream_infer`.
        """
        import grpc

        whole = self._seconds if seconds is None else seconds
        method = self._method("ModelStreamInfer")
        call = method(timeout=whole, metadata=self._headers)
        answered = False
        try:
            await call.write(request)
            await call.done_writing()
            async for received in call:
                answered = True
                yield received
        except grpc.aio.AioRpcError as error:
            raise failure(error, whole, answered=answered) from None
        finally:
            call.cancel()

    async def _call(self, name: str, request: Any, seconds: float | None) -> Any:
        """Call a method and return the parsed response; its messages are named like the method."""
        if isinstance(request, dict):
            request = message(f"{name}Request")(**request)
        received = await self._unary(name, request.SerializeToString(), seconds)
        try:
            return protobuf.parse(f"{name}Response", received)
        except TensorError as error:
            raise MalformedError(str(error)) from None

    async def _unary(self, name: str, request: bytes, seconds: float | None) -> bytes:
        import grpc

        whole = self._seconds if seconds is None else seconds
        try:
            call = self._method(name)(request, timeout=whole, metadata=self._headers)
            received: bytes = await call
        except grpc.aio.AioRpcError as error:
            raise failure(error, whole) from None
        return received

    def _method(self, name: str) -> Any:
        if name not in self._methods:
            channel = self._channel or self._open()
            kind = channel.stream_stream if name == "ModelStreamInfer" else channel.unary_unary
            self._methods[name] = kind(_SERVICE + name)
        return self._methods[name]

    def _open(self) -> Any:
        import grpc

        if self._tls is None:
            self._channel = grpc.aio.insecure_channel(self.url, options=self._options)
        else:
            credentials = self._tls.credentials()
            self._channel = grpc.aio.secure_channel(self.url, credentials, options=self._options)
        return self._channel


async def ended(stream: AsyncGenerator[bytes, None]) -> None:
    """Wait a moment until the server has ended a stream after its error.

    Triton 24.10 may keep a model forever that is unloaded after one of its streams was cancelled.
    """
    with contextlib.suppress(TimeoutError, WireError):
        async with asyncio.timeout(_END_SECONDS):
            async for _ in stream:
                pass

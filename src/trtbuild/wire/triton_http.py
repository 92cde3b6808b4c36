"""Triton over HTTP: the KServe v2 protocol and Triton's generate and repository extensions."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar
from urllib.parse import quote

from trtbuild.wire import kserve
from trtbuild.wire.failures import UNREADABLE, MalformedError, RefusedError
from trtbuild.wire.http import HttpEndpoint, accepted
from trtbuild.wire.records import IndexEntry, ModelMetadata
from trtbuild.wire.tensors import InferRequest, InferResponse

_Made = TypeVar("_Made")


class TritonHttp(HttpEndpoint):
    """A Triton's HTTP endpoint, with the methods of
    :class:`~trtbuild.wire.triton_grpc.TritonGrpc`."""

    async def live(self, *, seconds: float | None = None) -> bool:
        """Whether the server is up. WireError if nothing listens."""
        return (await self.fetch("GET", "/v2/health/live", seconds=seconds)).good

    async def ready(self, model: str = "", *, seconds: float | None = None) -> bool:
        """Whether a model, or the server with all its models, accepts requests.

        WireError while nothing listens.
        """
        path = f"{_path(model)}/ready" if model else "/v2/health/ready"
        return (await self.fetch("GET", path, seconds=seconds)).good

    async def metadata(self, model: str, *, seconds: float | None = None) -> ModelMetadata:
        """Return inputs and outputs of a model."""
        return await self._read("GET", _path(model), ModelMetadata.read, seconds=seconds)

    async def config(self, model: str, *, seconds: float | None = None) -> dict[str, Any]:
        """Return the configuration completed by the server, by config.pbtxt's field names."""
        return await self._read("GET", f"{_path(model)}/config", dict, seconds=seconds)

    async def index(self, *, ready: bool = False, seconds: float | None = None) -> list[IndexEntry]:
        """Return the models of the repository; with ``ready`` only those that accept requests."""
        body = json.dumps({"ready": ready}).encode()
        return await self._read(
            "POST",
            "/v2/repository/index",
            lambda found: [IndexEntry.read(row) for row in found],
            body,
            seconds=seconds,
        )

    async def load(
        self,
        model: str,
        parameters: Mapping[str, str] | None = None,
        *,
        seconds: float | None = None,
    ) -> None:
        """Load or reload a model; ``parameters``: ``config``, ``file:…`` (base64)."""
        await self._control(model, "load", parameters, seconds)

    async def unload(
        self, model: str, *, dependents: bool = False, seconds: float | None = None
    ) -> None:
        """Start to unload a model, with ``dependents`` the members of an ensemble too."""
        await self._control(model, "unload", {"unload_dependents": dependents}, seconds)

    async def infer(
        self,
        model: str,
        request: InferRequest,
        *,
        binary: bool = True,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> InferResponse:
        """Send a request and return the response; a decoupled model rejects it.

        Args:
            model: Name of the model.
            request: Its tensors.
            binary: Send and receive the tensors' bytes (Triton's extension) instead of JSON.
            headers: Of this request.
            seconds: For the whole call.

        Raises:
            TensorError: Data that does not fit its tensor.
        """
        body, length = kserve.encode_request(request, binary=binary)
        more = dict(headers or {})
        if binary:
            more["Content-Type"] = "application/octet-stream"
            more[kserve.HEADER_LENGTH] = str(length)
        path = f"{_path(model)}/infer"
        answer = accepted(await self.fetch("POST", path, body, more, seconds=seconds))
        told = answer.headers.get(kserve.HEADER_LENGTH.lower(), "")
        try:
            return kserve.decode_response(answer.body, int(told) if told else None)
        except ValueError as error:
            raise MalformedError(str(error)) from None

    async def generate(
        self,
        model: str,
        values: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> dict[str, Any]:
        """Return one response of Triton's generate extension.

        Args:
            model: Name of the model.
            values: By input: a value, or a list for a vector. Other names are parameters.
            headers: Of this request.
            seconds: For the whole call.

        Returns:
            Values by output, each a value or a list.
        """
        path = f"{_path(model)}/generate"
        answer = await self.fetch("POST", path, _json(values), headers, seconds=seconds)
        return _parsed(accepted(answer).body, dict)

    async def generate_stream(
        self,
        model: str,
        values: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield responses as they come; closing the generator cancels the request on the server.

        Arguments and yielded values are those of :meth:`generate`.
        """
        path = f"{_path(model)}/generate_stream"
        events = self.events("POST", path, _json(values), headers, seconds=seconds)
        async with aclosing(events):
            async for event in events:
                found = _parsed(event, dict)
                if failed := found.get("error"):
                    raise RefusedError(str(failed), status=500)
                yield found

    async def _control(
        self, model: str, action: str, parameters: Mapping[str, Any] | None, seconds: float | None
    ) -> None:
        path = f"/v2/repository/models/{quote(model, safe='')}/{action}"
        body = _json({"parameters": dict(parameters)} if parameters else {})
        accepted(await self.fetch("POST", path, body, seconds=seconds))

    async def _read(
        self,
        method: str,
        path: str,
        read: Callable[[Any], _Made],
        body: bytes = b"",
        *,
        seconds: float | None,
    ) -> _Made:
        answer = await self.fetch(method, path, body, seconds=seconds)
        return _parsed(accepted(answer).body, read)


def _path(model: str) -> str:
    return f"/v2/models/{quote(model, safe='')}"


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8")


def _parsed(body: bytes, read: Callable[[Any], _Made]) -> _Made:
    try:
        return read(json.loads(body))
    except UNREADABLE:
        raise MalformedError(f"not an answer of the v2 protocol: {body[:200]!r}") from None

"""Triton over HTTP: the KServe v2 protocol and Triton's generate, repository and statistics
extensions."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Self, TypeVar
from urllib.parse import quote

from trtbuild.wire import kserve
from trtbuild.wire.connections import OnRaw, Pool
from trtbuild.wire.direct import proxy_for
from trtbuild.wire.failures import MalformedError, RefusedError
from trtbuild.wire.pushing import OnBatch, push_events
from trtbuild.wire.records import IndexEntry, ModelMetadata
from trtbuild.wire.response import LIMIT, Response
from trtbuild.wire.streams import EventStream, late, unreachable
from trtbuild.wire.tensors import InferRequest, InferResponse
from trtbuild.wire.tls import Tls

_Made = TypeVar("_Made")
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


class TritonHttp:
    """A server's HTTP endpoint. Every method belongs to the event loop of the first call.

    Args:
        url: ``HOST:PORT``, or ``http://…`` or ``https://…`` with an optional path prefix, or
            ``unix:PATH``.
        headers: Sent with each request.
        tls: For ``https://``.
        seconds: Default timeout of a whole call.
        limit: Maximum bytes of a body or of one event.
        connections: Maximum open connections; further calls wait. None: the process's limit.
        connect_seconds: Timeout of opening a connection; None: the call's.
        environment: Use the environment's ``HTTP_PROXY``, except for a server on this machine.

    Raises:
        WireError: From every method; see the classes of :mod:`trtbuild.wire.failures` for what
            happened.
        ValueError: From the constructor: ``url`` is not a URL.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        tls: Tls | None = None,
        seconds: float = 60,
        limit: int = LIMIT,
        connections: int | None = None,
        connect_seconds: float | None = None,
        environment: bool = True,
    ) -> None:
        local = url.startswith("unix:")
        self.url = url if local or "://" in url else f"http://{url}"
        self._seconds = seconds
        self._limit = limit
        context = tls.context() if tls and self.url.startswith("https:") else None
        proxy = proxy_for(self.url.split("://", 1)[1]) if environment and not local else ""
        self._pool = Pool(
            self.url,
            headers,
            connections,
            tls=context,
            proxy=proxy,
            connect_seconds=connect_seconds,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the idle connections: an open one delays a server's exit."""
        self._pool.close()

    async def live(self, *, seconds: float | None = None) -> bool:
        """Whether the server is up. WireError if nothing listens."""
        return (await self._call("GET", "/v2/health/live", seconds=seconds)).good

    async def ready(
        self, model: str = "", version: str = "", *, seconds: float | None = None
    ) -> bool:
        """Whether a model, or the server with all its models, accepts requests.

        WireError while nothing listens.
        """
        path = f"{_path(model, version)}/ready" if model else "/v2/health/ready"
        return (await self._call("GET", path, seconds=seconds)).good

    async def metadata(
        self, model: str, version: str = "", *, seconds: float | None = None
    ) -> ModelMetadata:
        """Return inputs and outputs of a model."""
        return await self._read("GET", _path(model, version), ModelMetadata.read, seconds=seconds)

    async def config(
        self, model: str, version: str = "", *, seconds: float | None = None
    ) -> dict[str, Any]:
        """Return the configuration completed by the server, by config.pbtxt's field names."""
        return await self._read("GET", f"{_path(model, version)}/config", dict, seconds=seconds)

    async def statistics(
        self, model: str = "", version: str = "", *, seconds: float | None = None
    ) -> list[dict[str, Any]]:
        """Return counts and nanoseconds of a model's versions, or of all models.

        Each has ``name``, ``version``, ``inference_count``, ``execution_count``, ``last_inference``
        (milliseconds since 1970) and ``inference_stats`` (by stage: ``count`` and ``ns``).
        """
        path = f"{_path(model, version)}/stats" if model else "/v2/models/stats"
        return await self._read(
            "GET", path, lambda found: [dict(row) for row in found["model_stats"]], seconds=seconds
        )

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
        version: str = "",
        *,
        binary: bool = True,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> InferResponse:
        """Send a request and return the response; a decoupled model rejects it.

        Args:
            model: Name of the model.
            request: Its tensors.
            version: Empty: the server chooses.
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
        path = f"{_path(model, version)}/infer"
        answer = await self._good("POST", path, body, more, seconds=seconds)
        told = answer.headers.get(kserve.HEADER_LENGTH.lower(), "")
        try:
            return kserve.decode_response(answer.body, int(told) if told else None)
        except ValueError as error:
            raise MalformedError(str(error)) from None

    async def generate(
        self,
        model: str,
        values: Mapping[str, Any],
        version: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> dict[str, Any]:
        """Return one response of Triton's generate extension.

        Args:
            model: Name of the model.
            values: By input: a value, or a list for a vector. Other names are parameters.
            version: Empty: the server chooses.
            headers: Of this request.
            seconds: For the whole call.

        Returns:
            Values by output, each a value or a list.
        """
        path = f"{_path(model, version)}/generate"
        answer = await self._good("POST", path, _json(values), headers, seconds=seconds)
        return _parsed(answer.body, dict)

    async def generate_stream(
        self,
        model: str,
        values: Mapping[str, Any],
        version: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield responses as they come; closing the generator cancels the request on the server.

        Arguments and yielded values are those of :meth:`generate`.
        """
        path = f"{_path(model, version)}/generate_stream"
        async with aclosing(self.events("POST", path, _json(values), headers, seconds)) as events:
            async for event in events:
                found = _parsed(event, dict)
                if failed := found.get("error"):
                    raise RefusedError(str(failed), status=500)
                yield found

    async def events(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the unparsed data of each event of any event stream of the server."""
        async with aclosing(self.event_batches(method, path, body, headers, seconds)) as batches:
            async for batch in batches:
                for event in batch:
                    yield event

    async def event_batches(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> AsyncGenerator[list[bytes], None]:
        """Like :meth:`events`, but yield all events that have arrived at once."""
        request = self._pool.request(method, path, body, headers)
        whole = self._seconds if seconds is None else seconds
        async with EventStream(self._pool, request, seconds=whole, limit=self._limit) as stream:
            while batch := await stream.batch():
                yield batch
            response = stream.response
        if response is not None:
            _require_events(response)

    async def push_events(
        self,
        method: str,
        path: str,
        on_batch: OnBatch,
        *,
        on_raw: OnRaw | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> None:
        """Give all events of a packet to ``on_batch`` at once, without a turn of the event loop;
        see :func:`~trtbuild.wire.pushing.push_events`.

        Returns at the end of the stream; cancelling it cancels the request on the server.
        """
        request = self._pool.request(method, path, body, headers)
        whole = self._seconds if seconds is None else seconds
        response = await push_events(
            self._pool, request, on_batch, on_raw=on_raw, seconds=whole, limit=self._limit
        )
        _require_events(response)

    async def fetch(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        seconds: float | None = None,
    ) -> Response:
        """Send any request, whatever the response's status; the path begins with ``/``."""
        return await self._call(method, path, body, headers, seconds=seconds)

    async def _control(
        self, model: str, action: str, parameters: Mapping[str, Any] | None, seconds: float | None
    ) -> None:
        path = f"/v2/repository/models/{quote(model, safe='')}/{action}"
        body = _json({"parameters": dict(parameters)} if parameters else {})
        await self._good("POST", path, body, seconds=seconds)

    async def _read(
        self,
        method: str,
        path: str,
        read: Callable[[Any], _Made],
        body: bytes = b"",
        *,
        seconds: float | None,
    ) -> _Made:
        return _parsed((await self._good(method, path, body, seconds=seconds)).body, read)

    async def _good(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        seconds: float | None,
    ) -> Response:
        answer = await self._call(method, path, body, headers, seconds=seconds)
        if not answer.good:
            raise refusal(answer)
        return answer

    async def _call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        seconds: float | None,
    ) -> Response:
        whole = self._seconds if seconds is None else seconds
        try:
            async with asyncio.timeout(whole):
                return await self._pool.fetch(method, path, body, headers, limit=self._limit)
        except TimeoutError:
            raise late(whole) from None
        except OSError as error:
            raise unreachable(error) from error


def _require_events(response: Response) -> None:
    if not response.good:
        raise refusal(response)
    if not response.events:
        raise MalformedError(f"not an event stream: {response.body[:200]!r}")


def refusal(response: Response) -> RefusedError:
    """Return the error in a response whose status is not success, with the server's message."""
    text = response.body.decode("utf-8", "replace").strip()
    message = text or f"HTTP status {response.status}"
    if response.location:
        message = f"it sends requests on to {response.location}"
    with contextlib.suppress(*_UNREADABLE):
        # /generate_stream also sends errors as an event.
        message = str(json.loads(text.removeprefix("data:"))["error"])
    return RefusedError(message, status=response.status, headers=response.headers)


def _path(model: str, version: str) -> str:
    of_version = f"/versions/{quote(version, safe='')}" if version else ""
    return f"/v2/models/{quote(model, safe='')}{of_version}"


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8")


def _parsed(body: bytes, read: Callable[[Any], _Made]) -> _Made:
    try:
        return read(json.loads(body))
    except _UNREADABLE:
        raise MalformedError(f"not an answer of the v2 protocol: {body[:200]!r}") from None

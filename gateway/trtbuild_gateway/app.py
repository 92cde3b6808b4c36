"""The ASGI application: every route, and what runs beside them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from trtbuild_gateway.access_settings import CorsSettings
from trtbuild_gateway.batches.store import Store
from trtbuild_gateway.batching import Batching
from trtbuild_gateway.encoding.messages import error_body
from trtbuild_gateway.failures import ApiError
from trtbuild_gateway.gateway import Gateway
from trtbuild_gateway.http.endpoint import Endpoint, Handler
from trtbuild_gateway.http.not_here import not_here
from trtbuild_gateway.routes import (
    audio,
    batches,
    chat,
    classify,
    completions,
    embeddings,
    feedback,
    messages,
    models,
    page,
    ranking,
    responses,
    tokens,
)
from trtbuild_gateway.seams import Call, Caller, OpenGate

_GET: Mapping[str, Handler] = {
    "/v1/models": models.models,
    "/v1/models/{model:path}": models.one_model,
    "/health": models.ready,
    "/health/live": models.live,
    "/health/ready": models.ready,
    "/metrics": models.metrics,
    "/tokenizer_info": tokens.tokenizer_info,
}
_EXPOSED = (
    "retry-after",
    "x-request-id",
    "x-trtbuild-ignored",
    "x-trtbuild-incomplete",
    "x-trtbuild-variant",
    *(
        f"x-ratelimit-{what}-{unit}"
        for what in ("limit", "remaining", "reset")
        for unit in ("requests", "tokens")
    ),
)
_QUIET = frozenset(("/health", "/health/live", "/health/ready", "/metrics"))
_POST: Mapping[str, Handler] = {
    "/v1/chat/completions": chat.chat,
    "/v1/completions": completions.completions,
    "/v1/responses": responses.responses,
    "/v1/messages": messages.messages,
    "/v1/messages/count_tokens": messages.count_tokens,
    "/v1/audio/transcriptions": audio.transcriptions,
    "/v1/audio/translations": audio.translations,
    "/v1/embeddings": embeddings.embeddings,
    "/v1/rerank": ranking.rerank,
    "/rerank": ranking.rerank,
    "/v2/rerank": ranking.rerank_v2,
    "/v1/ranking": ranking.ranking,
    "/v1/score": ranking.score,
    "/score": ranking.score,
    "/v1/classify": classify.classify,
    "/classify": classify.classify,
    "/v1/feedback": feedback.feedback,
    "/tokenize": tokens.tokenize,
    "/detokenize": tokens.detokenize,
}


Beside = Callable[[], AbstractAsyncContextManager[None]]


def create_app(gateway: Gateway, beside: Beside = contextlib.nullcontext) -> ASGIApp:
    """Return the application of the data plane.

    Args:
        gateway: What it serves.
        beside: What runs as long as it does.
    """

    batching = _batching(gateway)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await gateway.gate.open()
        if gateway.experiments is not None:
            await gateway.experiments.open()
        watching = [asyncio.create_task(gateway.catalog.watch())]
        if batching is not None:
            watching.append(asyncio.create_task(batching.run()))
        if gateway.catalog.workers is not None:
            watching.append(asyncio.create_task(gateway.catalog.workers.preload()))
        try:
            async with beside():
                yield
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            await gateway.catalog.close()
            for gate in (*gateway.retired, gateway.gate):
                await gate.close()
            if gateway.experiments is not None:
                await gateway.experiments.close()

    endpoints = {
        (method, path): Endpoint(
            gateway,
            path,
            handler,
            quiet=path in _QUIET,
            error_body=error_body if path.startswith("/v1/messages") else ApiError.body,
        )
        for (method, path), handler in _handlers()
    }
    routes = [
        Route(path, endpoint, methods=[method]) for (method, path), endpoint in endpoints.items()
    ]
    if gateway.settings.page:
        routes += page.page_routes("data")
    others = Starlette(
        routes=routes, lifespan=lifespan, exception_handlers={HTTPException: not_here}
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # Every layer around an endpoint costs time for every token.
        direct = endpoints.get((scope.get("method", ""), scope.get("path", "")))
        await (direct or others)(scope, receive, send)

    return _for_browsers(app, gateway.settings.access.cors)


def _handlers() -> Iterator[tuple[tuple[str, str], Handler]]:
    for method, handlers in (("GET", _GET), ("POST", _POST)):
        yield from (((method, path), handler) for path, handler in handlers.items())
    yield from batches.ROUTES.items()


class _Again(OpenGate):
    """Identifies a caller of an earlier request."""

    def __init__(self, gateway: Gateway, caller: str, grant: bytes) -> None:
        self._gateway = gateway
        self._caller = caller
        self._grant = grant

    async def identify(self, headers: Mapping[str, str], call: Call) -> Caller:  # noqa: ARG002
        """Return the caller, as the gate knows it now."""
        return await self._gateway.gate.again(self._caller, call, self._grant)


def _batching(gateway: Gateway) -> Batching | None:
    """Return whoever computes the gateway's batches; None if it keeps none."""
    settings = gateway.settings.batches
    if settings.directory is None:
        return None

    def answerer(path: str, caller: str, grant: bytes) -> ASGIApp:
        return Endpoint(gateway, path, _POST[path], gate=_Again(gateway, caller, grant))

    made = Batching(Store(settings.directory), settings, answerer)
    gateway.batches = made
    return made


def _for_browsers(app: ASGIApp, settings: CorsSettings) -> ASGIApp:
    """Return an application that pages of other origins may call."""
    if not settings.origins:
        return app
    from starlette.middleware.cors import CORSMiddleware

    return CORSMiddleware(
        app,
        allow_origins=settings.origins,
        allow_methods=("GET", "POST"),
        allow_headers=("*",),
        expose_headers=_EXPOSED,
        max_age=settings.max_age,
    )

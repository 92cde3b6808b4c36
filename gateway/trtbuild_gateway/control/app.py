"""The control plane's ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qs

import msgspec
from msgspec import Meta
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp

from trtbuild_gateway.access.gate import AccessGate
from trtbuild_gateway.control.gate import ControlGate
from trtbuild_gateway.control.jobs import Job
from trtbuild_gateway.control.models import Models
from trtbuild_gateway.control.places import Place, find
from trtbuild_gateway.control.watchdog import Watchdog
from trtbuild_gateway.experiments.listing import listing
from trtbuild_gateway.failures import ApiError, invalid
from trtbuild_gateway.gateway import Gateway
from trtbuild_gateway.http.endpoint import Context, Endpoint, Handler
from trtbuild_gateway.http.exchange import Emit
from trtbuild_gateway.http.not_here import not_here
from trtbuild_gateway.routes.page import page_routes
from trtbuild_gateway.schema.parameters import typed

_Made = TypeVar("_Made", bound=msgspec.Struct)

_WATCH_SECONDS = 1.0  # how often the servers are asked while somebody watches


class LoadRequest(msgspec.Struct, frozen=True):
    """The body of a load. A server's own parameters are not passed on: they can replace files."""

    model: str
    server: str = ""
    wait: bool = True
    warm_up: bool | None = None


class UnloadRequest(msgspec.Struct, frozen=True):
    """The body of an unload; ``seconds`` is how long open requests may go on."""

    model: str
    server: str = ""
    wait: bool = True
    seconds: Annotated[float, Meta(ge=0, le=3600)] | None = None


class ControlPlane:
    """Answers the control port's requests."""

    def __init__(self, gateway: Gateway, gate: ControlGate) -> None:
        self._gateway = gateway
        self._gate = gate
        self.models = Models(gateway)
        self.watchdog = Watchdog(gateway, self.models.release)

    def app(self) -> ASGIApp:
        """Return the application."""
        changing: Mapping[str, Handler] = {
            "/v1/model/load": self.load,
            "/v1/model/unload": self.unload,
        }
        looking: Mapping[str, Handler] = {
            "/v1/model/list": self.listed,
            "/v1/model/state": self.state,
            "/v1/model/state/{model:path}": self.state,
            "/v1/model/watch": self.watch,
            "/v1/key/list": self.keys,
            "/v1/experiment/list": self.experiments,
        }
        routes = [
            Route(
                path,
                Endpoint(self._gateway, path, handler, quiet=method == "GET", gate=self._gate),
                methods=[method],
            )
            for method, handlers in (("POST", changing), ("GET", looking))
            for path, handler in handlers.items()
        ]
        if self._gateway.settings.page:
            routes += page_routes("control")
        return Starlette(routes=routes, exception_handlers={HTTPException: not_here})

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the watchdog; at the end, end the jobs."""
        watching = asyncio.create_task(self.watchdog.run())
        try:
            yield
        finally:
            watching.cancel()
            await self.models.jobs.close()
            await asyncio.gather(watching, return_exceptions=True)

    async def load(self, context: Context) -> None:
        """Load a model, or reload it: the old one serves until the new one is ready."""
        request = await _body(context, LoadRequest)
        place = await self._place(context, request)
        context.call.model = request.model
        configured = self._gateway.settings.control.warm_up
        warm = configured if request.warm_up is None else request.warm_up
        await self._answer(context, self.models.load(place, warm=warm), wait=request.wait)

    async def unload(self, context: Context) -> None:
        """Unload a model once its open requests have ended or were cancelled."""
        request = await _body(context, UnloadRequest)
        place = await self._place(context, request)
        context.call.model = request.model
        job = self.models.unload(place, seconds=request.seconds)
        await self._answer(context, job, wait=request.wait)

    async def listed(self, context: Context) -> None:
        """List the models of all servers."""
        states = await self._states(context)
        answer = {"object": "list", "data": states, "servers": self._servers()}
        await context.exchange.respond(msgspec.json.encode(answer))

    async def state(self, context: Context) -> None:
        """Describe the state of one model, or of all, and what they use."""
        name = context.exchange.scope["path_params"].get("model")
        if name is None:
            states = [self._with_usage(state) for state in await self._states(context)]
            servers = [server | self._of_server(server["url"]) for server in self._servers()]
            found = {"object": "list", "data": states, "servers": servers}
        else:
            query = parse_qs(context.exchange.scope["query_string"].decode("latin-1"))
            place = await self._found(context, name, query.get("server", [""])[0])
            found = self._with_usage(self.models.state(place))
        await context.exchange.respond(msgspec.json.encode(found))

    async def watch(self, context: Context) -> None:
        """Send the state of every model, and then each change."""
        heartbeat = self._gateway.settings.heartbeat_seconds
        await context.exchange.stream(partial(self._watched, context), heartbeat)

    async def keys(self, context: Context) -> None:
        """List the API keys without their secrets; whoever may ask here is an admin."""
        gate = self._gateway.gate
        found = gate.keys if isinstance(gate, AccessGate) else None
        if found is None:
            raise ApiError(
                404, "the gateway has no API keys: access.keys is not set", code="keys_off"
            )
        now = datetime.now(UTC)
        rows = [key.described(now) for key in found]
        await context.exchange.respond(msgspec.json.encode({"object": "list", "data": rows}))

    async def experiments(self, context: Context) -> None:
        """List the experiments with their variants, and what was counted of each."""
        found = self._gateway.experiments
        if found is None:
            raise ApiError(
                404,
                "the gateway has no experiments: exposures.directory is not set",
                code="experiments_off",
            )
        answer = listing(found, partial(self._gate.visible, context.call.caller))
        await context.exchange.respond(msgspec.json.encode(answer))

    async def _watched(self, context: Context, emit: Emit) -> None:
        known: dict[tuple[str, str], dict[str, Any]] = {}
        while not self._gateway.draining:
            found = {(row["server"], row["id"]): row for row in await self._states(context)}
            unreachable = self._gateway.catalog.failures
            gone = [key for key in known.keys() - found.keys() if key[0] not in unreachable]
            news = [row for key, row in found.items() if known.get(key) != row]
            news += [{**known.pop(key), "state": "absent"} for key in gone]
            known |= found
            piece = b"".join(b"data: " + msgspec.json.encode(row) + b"\n\n" for row in news)
            if piece and (waiting := emit(piece)) is not None:
                await waiting
            await self.models.changed(_WATCH_SECONDS)

    async def _place(self, context: Context, request: LoadRequest | UnloadRequest) -> Place:
        """Return the model of a request, which the caller may control.

        Raises:
            ApiError: There is none; or the gate refuses the call.
        """
        place = await self._found(context, request.model, request.server)
        context.call.model = place.model
        await context.admit()
        return place

    async def _found(self, context: Context, name: str, server: str = "") -> Place:
        visible = partial(self._gate.visible, context.call.caller)
        return await find(self._gateway.catalog, name, server, visible)

    async def _states(self, context: Context) -> list[dict[str, Any]]:
        caller = context.call.caller
        states = await self.models.states()
        return [state for state in states if self._gate.visible(caller, state["id"])]

    def _servers(self) -> Sequence[dict[str, Any]]:
        failures = self._gateway.catalog.failures
        return [
            {"url": url, "reachable": url not in failures}
            | ({"reason": str(failures[url])} if url in failures else {})
            for url in self._gateway.catalog.urls
        ]

    def _with_usage(self, state: dict[str, Any]) -> dict[str, Any]:
        used = self.watchdog.of_model(state["server"], state["id"], state["names"])
        return state | {"usage": used} if used else state

    def _of_server(self, url: str) -> dict[str, Any]:
        used = self.watchdog.of_server(url)
        return {"usage": used} if used else {}

    async def _answer(self, context: Context, job: Job, *, wait: bool) -> None:
        """Answer with the job: at its end, or at once."""
        if wait:
            async with context.exchange.watched():  # the job goes on if the client leaves
                await self.models.jobs.ended(job)
            if job.error is not None:
                raise job.error
        state = self.models.state(job.place)
        status = 200 if job.status == "done" else 202
        await context.exchange.respond(msgspec.json.encode(state), status)


async def _body(context: Context, kind: type[_Made]) -> _Made:
    context.fallbacks = []  # a fallback answers for a model; it is not loaded instead of one
    given = await context.exchange.json()
    known = [field.name for field in msgspec.structs.fields(kind)]
    for name in given:
        if name not in known:
            raise invalid(
                f"unknown parameter {name!r}; there is: {', '.join(known)}",
                name,
                "unknown_parameter",
            )
    return typed(given, kind)

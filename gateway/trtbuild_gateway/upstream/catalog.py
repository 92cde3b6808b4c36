"""The models that can be asked for: what the servers report, with what the repository knows.

The servers are asked again every few seconds, and at once for a name that nobody knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from trtbuild import lockfile
from trtbuild.wire.failures import RefusedError, WireError
from trtbuild.wire.records import IndexEntry
from trtbuild.wire.triton_http import TritonHttp
from trtbuild_gateway.failures import ApiError, unavailable
from trtbuild_gateway.routing.pool import Pool
from trtbuild_gateway.routing_settings import ServerSettings
from trtbuild_gateway.seams import Workers
from trtbuild_gateway.settings import ModelSettings, Settings
from trtbuild_gateway.upstream.checks import lock_of, wire_to
from trtbuild_gateway.upstream.describing import describe
from trtbuild_gateway.upstream.model import Model, State
from trtbuild_gateway.upstream.open_requests import OpenRequests
from trtbuild_gateway.upstream.servers import (
    Found,
    alike,
    fill,
    shortest_context,
)

_INDEX_SECONDS = 3.0  # a server that hangs delays what is known of the others
_STALE_SECONDS = 0.5  # unknown names do not ask the server more often


class Catalog:
    """The models of the configured servers, by name.

    Args:
        settings: The servers, and more about their models.
        workers: Runs the models of the registry.
    """

    def __init__(self, settings: Settings, workers: Workers | None = None) -> None:
        self._settings = settings
        self.workers = workers
        self._wires: dict[str, TritonHttp] = {}
        self._known: dict[tuple[str, str, str], Found] = {}
        self._pools: dict[str, Pool] = {}
        self._requests: dict[tuple[str, str], OpenRequests] = {}
        self._state = State()
        self._looking = asyncio.Lock()
        self._lock = lock_of(settings)
        for url in self.urls:
            self.wire(url)

    @property
    def models(self) -> Mapping[str, Model]:
        """The models of the last look."""
        return self._state.models

    @property
    def pools(self) -> Collection[Pool]:
        """The servers of each model of the last look."""
        return self._pools.values()

    async def find(self, name: str, visible: Callable[[str], bool] = lambda _: True) -> Model:
        """Return a model.

        Args:
            name: As in the request.
            visible: Whether the caller may use a model; others are as if they were not there.

        Raises:
            ApiError: There is none of that name (404), or it cannot be asked now (503).
        """
        if name not in self.models and time.monotonic() - self._state.at > _STALE_SECONDS:
            await self.refresh()
        state = self._state
        if name in state.models and visible(state.models[name].name):
            return state.models[name]
        if name in state.pending and visible(name):
            raise unavailable(f"the model {name!r} {state.pending[name]}", "model_not_ready")
        if state.failures:
            raise next(iter(state.failures.values()))
        listed = {m.name for m in state.models.values() if not m.hidden and visible(m.name)}
        perhaps = "" if visible(name) else ", or you may not use it"
        raise ApiError(
            404,
            f"the model {name!r} does not exist{perhaps}; there is: "
            f"{', '.join(sorted(listed)) or 'none'}",
            param="model",
            code="model_not_found",
        )

    async def refresh(self) -> None:
        """Ask the servers for their models; calls at the same time share the answer."""
        called = time.monotonic()
        async with self._looking:
            if self._state.at >= called:
                return
            await self._look_around()

    async def adopt(self, settings: Settings) -> None:
        """Serve with other settings. Requests that run keep what they began with, and what has not
        changed keeps its connections and counts.

        Raises:
            RecipeError: They are wrong; nothing has changed.
        """
        other = Catalog(settings, self.workers)
        async with self._looking:
            old, self._settings = self._settings, settings
            same = self._lock == other._lock
            if settings.routing.connect_seconds != old.routing.connect_seconds:
                same = False
            kept = self._wires.keys() & other._wires.keys() if same else set()
            for url in self._wires.keys() - kept:
                await self._wires.pop(url).close()
            self._wires = other._wires | self._wires
            self._lock = other._lock
            known = self._known.items() if same else ()
            self._known = {key: found for key, found in known if self._unchanged(key, old)}
            await self._look_around()

    def _unchanged(self, key: tuple[str, str, str], old: Settings) -> bool:
        """Whether a model that is known is what it would be if it were described again."""
        url, name, upstream = key
        new = self._settings
        return (old.models.get(name), old.repository, old.seconds) == (
            new.models.get(name),
            new.repository,
            new.seconds,
        ) and name in self.names(url, upstream)

    async def _look_around(self) -> None:
        state = State(at=time.monotonic())
        looks = await asyncio.gather(*(self._look(url, state) for url in self.urls))
        found: dict[str, list[Found]] = {}
        for name, one in itertools.chain.from_iterable(looks):
            found.setdefault(name, []).append(one)
        self._pools = {name: pool for name, pool in self._pools.items() if name in found}
        pooled = [self._pooled(name, every) for name, every in found.items()]
        state.publish(pooled, self._settings, self._lock)
        self._state = state

    async def watch(self) -> None:
        """Refresh forever."""
        while True:
            with contextlib.suppress(Exception):  # a look that fails is repeated
                await self.refresh()
            await asyncio.sleep(self._settings.refresh_seconds)

    async def release(self) -> None:
        """Keep no connection open longer than its request: Triton, which is often stopped at the
        same time, waits for idle ones, too."""
        for wire in self._wires.values():
            await wire.close()

    async def close(self) -> None:
        """Close the connections."""
        await self.release()
        if self.workers is not None:
            await self.workers.close()

    def wire(self, url: str) -> TritonHttp:
        """Return the client of a server."""
        if url not in self._wires:
            self._wires[url] = wire_to(url, self._settings, self.workers)
        return self._wires[url]

    @property
    def indexes(self) -> Mapping[str, list[IndexEntry]]:
        """What each server reported at the last look: a row for each version of a model."""
        return self._state.indexes

    @property
    def failures(self) -> Mapping[str, WireError]:
        """Why servers could not be asked at the last look."""
        return self._state.failures

    @property
    def urls(self) -> Sequence[str]:
        """The servers, the common ones first."""
        settings = self._settings
        own = (server for name in settings.models for server in settings.servers_of(name))
        return list(dict.fromkeys(server.url for server in (*settings.common, *own)))

    def requests(self, url: str, upstream: str) -> OpenRequests:
        """Return the open requests of a server's model, whatever names it has here."""
        return self._requests.setdefault((url, upstream), OpenRequests(upstream))

    def forget(self, url: str, upstream: str) -> None:
        """Have a server's model, and what the repository says of it, read again."""
        for key in [key for key in self._known if (key[0], key[2]) == (url, upstream)]:
            del self._known[key]
        if self._settings.repository is not None:
            self._lock = lockfile.read(self._settings.repository)

    async def described(self, url: str, upstream: str) -> Found | None:
        """Return a server's model as it would be published, which also answers while others are
        refused; None if nothing here can ask it."""
        name, server = next(iter(self._named(url, upstream)), (upstream, ServerSettings(url)))
        return await self._described((server, name, upstream), OpenRequests(upstream))

    def names(self, url: str, upstream: str) -> Sequence[str]:
        """Return the public names of a server's model; none for a part of another model."""
        return list(dict.fromkeys(name for name, _ in self._named(url, upstream)))

    async def _look(self, url: str, state: State) -> list[tuple[str, Found]]:
        """Return a server's models by their public names."""
        try:
            index = await self.wire(url).index(seconds=_INDEX_SECONDS)
            state.indexes[url] = index
            by_name: dict[str, IndexEntry] = {}
            for entry in index:
                if entry.state == "READY" or entry.name not in by_name:
                    by_name[entry.name] = entry
            asked = [
                (name, await self._found(server, name, entry, state))
                for upstream, entry in by_name.items()
                for name, server in self._named(url, upstream)
            ]
            return [(name, one) for name, one in asked if one is not None]
        except WireError as error:
            state.failures[url] = error
            # Its models are kept: if no other server has them, requests report why.
            return [
                (name, replace(found, up=False))
                for (of, name, _), found in self._known.items()
                if of == url
            ]

    def _named(self, url: str, upstream: str) -> Iterable[tuple[str, ServerSettings]]:
        """Return the public names of a server's model, each with the settings of the server."""
        settings = self._settings
        named = [
            (name, server)
            for name, one in settings.models.items()
            for server in settings.servers_of(name)
            if server.url == url and (server.upstream or one.upstream or name) == upstream
        ]
        owner = self._lock.owner(upstream)
        if named:
            yield from named
        elif upstream not in settings.models and owner in ("", upstream):
            yield from ((upstream, server) for server in settings.common if server.url == url)

    async def _found(
        self, server: ServerSettings, name: str, entry: IndexEntry, state: State
    ) -> Found | None:
        """Return a model if it can be asked."""
        key = (server.url, name, entry.name)
        if entry.state != "READY":
            self._known.pop(key, None)
            if entry.state:
                word = {"LOADING": "is being loaded", "UNLOADING": "is being unloaded"}
                reason = f" ({entry.reason})" if entry.reason else ""
                state.pending[name] = word.get(entry.state, "is not loaded") + reason
            return None
        requests = self.requests(server.url, entry.name)
        if requests.refusal:
            state.pending[name] = requests.refusal
            return None
        if key not in self._known:
            try:
                made = await self._described((server, name, entry.name), requests)
            except RefusedError:  # it was unloaded just now
                return None
            if made is None:
                return None
            self._known[key] = made
        found = self._known[key] = replace(self._known[key], server=server)
        return found

    async def _described(
        self, found: tuple[ServerSettings, str, str], requests: OpenRequests
    ) -> Found | None:
        wire = self.wire(found[0].url)
        return await describe(wire, self._settings, self._lock, found, requests)

    def _pooled(self, name: str, found: Sequence[Found]) -> Model:
        """Return the model of one or more servers."""
        own = self._settings.models.get(name, ModelSettings())
        routing = self._settings.routing
        seconds = own.seconds or self._settings.seconds
        pool = self._pools.setdefault(name, Pool(name, routing, seconds))
        pool.settings, pool.seconds = routing, seconds
        same = alike(name, found)
        fill(pool, same, routing.breaker)
        first = same[0]
        served = replace(first.served, context_length=shortest_context(same))
        return Model(name, served, pool, first.prompter, created=first.created, hidden=own.hidden)

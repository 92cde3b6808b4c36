"""The models that can be asked for: what the servers report, with what the repository knows.

The servers are asked again every few seconds, and at once for a name that nobody knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from trtbuild import lockfile
from trtbuild.errors import RecipeError
from trtbuild.lockfile import Lock
from trtbuild.signature import ServedModel, dialect_of, of_server, with_files
from trtbuild.wire.failures import RefusedError, WireError
from trtbuild.wire.records import IndexEntry
from trtbuild.wire.triton_http import TritonHttp
from trtbuild_gateway.failures import ApiError, unavailable
from trtbuild_gateway.parsing import UnknownFamilyError, named
from trtbuild_gateway.prompts.prompter import Prompter
from trtbuild_gateway.seams import Backend
from trtbuild_gateway.settings import ModelSettings, Settings
from trtbuild_gateway.upstream.open_requests import OpenRequests
from trtbuild_gateway.upstream.triton import TritonModel

_ADMIN_SECONDS = 10.0
_STALE_SECONDS = 0.5  # unknown names do not ask the server more often


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can be asked for.

    Attributes:
        name: As clients write it.
        served: Its description.
        backend: What computes for it.
        prompter: Its tokenizer and chat template.
        adapter: A LoRA adapter of ``served``; empty for the model itself.
        created: When the gateway first saw it, in seconds since 1970.
        hidden: Whether it is left out of ``/v1/models``.
    """

    name: str
    served: ServedModel
    backend: Backend
    prompter: Prompter
    adapter: str = ""
    created: int = 0
    hidden: bool = False


@dataclass(slots=True)
class _State:
    """What the last look at the servers found."""

    models: dict[str, Model] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)  # why a known model cannot be asked
    indexes: dict[str, list[IndexEntry]] = field(default_factory=dict)  # by server
    failures: dict[str, WireError] = field(default_factory=dict)  # by server
    at: float = 0.0


def _check_parser(name: str, own: ModelSettings) -> None:
    try:
        if own.parser:
            named(own.parser)
    except UnknownFamilyError as error:
        raise RecipeError(
            str(error),
            where=f"models.{name}.parser",
            fix="choose one of docs/reference/parsers.md, or leave it out: the files tell",
        ) from None


class Catalog:
    """The models of the configured servers, by name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._wires: dict[str, TritonHttp] = {}
        self._known: dict[tuple[str, str], Model] = {}
        self._requests: dict[tuple[str, str], OpenRequests] = {}
        self._state = _State()
        self._looking = asyncio.Lock()
        self._lock = Lock() if settings.repository is None else lockfile.read(settings.repository)
        for name, own in settings.models.items():
            _check_parser(name, own)

    @property
    def models(self) -> Mapping[str, Model]:
        """The models of the last look."""
        return self._state.models

    async def find(self, name: str) -> Model:
        """Return a model.

        Raises:
            ApiError: There is none of that name (404), or it cannot be asked now (503).
        """
        if name not in self.models and time.monotonic() - self._state.at > _STALE_SECONDS:
            await self.refresh()
        state = self._state
        if name in state.models:
            return state.models[name]
        if name in state.pending:
            raise unavailable(f"the model {name!r} {state.pending[name]}", "model_not_ready")
        if state.failures:
            raise next(iter(state.failures.values()))
        known = ", ".join(sorted(m.name for m in state.models.values() if not m.hidden)) or "none"
        raise ApiError(
            404,
            f"the model {name!r} does not exist; there is: {known}",
            param="model",
            code="model_not_found",
        )

    async def refresh(self) -> None:
        """Ask the servers for their models; calls at the same time share the answer."""
        called = time.monotonic()
        async with self._looking:
            if self._state.at >= called:
                return
            state = _State(at=time.monotonic())
            for url in self.urls:
                try:
                    await self._look(url, state)
                except WireError as error:
                    state.failures[url] = error
                    self._keep(url, state)
            self._state = state

    async def watch(self) -> None:
        """Refresh for ever."""
        while True:
            with contextlib.suppress(Exception):  # a look that fails is repeated
                await self.refresh()
            await asyncio.sleep(self._settings.refresh_seconds)

    async def close(self) -> None:
        """Close the connections."""
        for wire in self._wires.values():
            await wire.close()

    def wire(self, url: str) -> TritonHttp:
        """Return the client of a server."""
        if url not in self._wires:
            self._wires[url] = TritonHttp(url, seconds=self._settings.seconds)
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
        """The servers, the common one first."""
        more = (model.url for model in self._settings.models.values() if model.url)
        return list(dict.fromkeys((self._settings.url, *more)))

    def requests(self, url: str, upstream: str) -> OpenRequests:
        """Return the open requests of a server's model, whatever names it has here."""
        return self._requests.setdefault((url, upstream), OpenRequests(upstream))

    def forget(self, url: str, upstream: str) -> None:
        """Have a server's model, and what the repository says of it, read again."""
        for key in [k for k, m in self._known.items() if k[0] == url and m.served.name == upstream]:
            del self._known[key]
        if self._settings.repository is not None:
            self._lock = lockfile.read(self._settings.repository)

    async def described(self, url: str, upstream: str) -> Model | None:
        """Return a server's model as it would be published, which also answers while others are
        refused; None if nothing here can ask it."""
        name = next(iter(self.names(url, upstream)), upstream)
        return await self._described(url, name, upstream, OpenRequests(upstream))

    def _keep(self, url: str, state: _State) -> None:
        """Keep the models of a server that does not answer: requests report why."""
        for (of, _), model in self._known.items():
            if of == url:
                self._publish(model, state)

    async def _look(self, url: str, state: _State) -> None:
        index = await self.wire(url).index(seconds=_ADMIN_SECONDS)
        state.indexes[url] = index
        by_name: dict[str, IndexEntry] = {}
        for entry in index:
            if entry.state == "READY" or entry.name not in by_name:
                by_name[entry.name] = entry
        for upstream, entry in by_name.items():
            for name in self.names(url, upstream):
                await self._add(url, name, entry, state)

    def names(self, url: str, upstream: str) -> Iterable[str]:
        """Return the public names of a server's model; none for a part of another model."""
        named = {
            name: one
            for name, one in self._settings.models.items()
            if (one.url or self._settings.url) == url and (one.upstream or name) == upstream
        }
        owner = self._lock.owner(upstream)
        if named:
            yield from named
        elif url == self._settings.url and owner in ("", upstream):
            yield upstream

    async def _add(self, url: str, name: str, entry: IndexEntry, state: _State) -> None:
        if entry.state != "READY":
            self._known.pop((url, name), None)
            if entry.state:
                word = {"LOADING": "is being loaded", "UNLOADING": "is being unloaded"}
                reason = f" ({entry.reason})" if entry.reason else ""
                state.pending[name] = word.get(entry.state, "is not loaded") + reason
            return
        requests = self.requests(url, entry.name)
        if requests.refusal:
            state.pending[name] = requests.refusal
            return
        model = self._known.get((url, name))
        if model is None:
            try:
                model = await self._described(url, name, entry.name, requests)
            except RefusedError:  # it was unloaded just now
                return
            if model is None:
                return
            self._known[(url, name)] = model
        self._publish(model, state)

    async def _described(
        self, url: str, name: str, upstream: str, requests: OpenRequests
    ) -> Model | None:
        """Return a model as its server describes it; None for one without a request schema."""
        wire, own = self.wire(url), self._settings.models.get(name, ModelSettings())
        metadata = await wire.metadata(upstream, seconds=_ADMIN_SECONDS)
        config = await wire.config(upstream, seconds=_ADMIN_SECONDS)
        try:
            served = of_server(metadata, config, self._lock.card(upstream))
        except (ValueError, LookupError, TypeError, AttributeError):
            return None
        if self._settings.repository is not None and url == self._settings.url:
            served = with_files(self._settings.repository, served)
        if own.context_length:
            served = replace(served, context_length=own.context_length)
        dialect = dialect_of(served)
        if dialect is None:
            return None
        seconds = own.seconds or self._settings.seconds
        backend = TritonModel(wire, served, dialect, seconds=seconds, requests=requests)
        prompter = Prompter.of(served, self._settings.repository, own)
        hidden = own.hidden
        return Model(name, served, backend, prompter, created=int(time.time()), hidden=hidden)

    def _publish(self, model: Model, state: _State) -> None:
        own = self._settings.models.get(model.name, ModelSettings())
        for alias in (model.name, *own.aliases):
            state.models.setdefault(alias, model)
        locked = self._lock.models.get(model.served.name)
        adapters = own.adapters or (tuple(locked.adapters) if locked else ())
        for adapter in adapters:
            state.models.setdefault(adapter, replace(model, name=adapter, adapter=adapter))

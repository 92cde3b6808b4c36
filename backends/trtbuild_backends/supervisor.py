"""The workers of a registry: loaded and unloaded by name, watched, and started again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import tempfile
import time
from collections.abc import Coroutine, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from trtbuild.errors import TrtbuildError
from trtbuild.resources import state_dir
from trtbuild.wire.failures import RefusedError
from trtbuild.wire.records import IndexEntry
from trtbuild_backends.backend import ModelSource
from trtbuild_backends.environments import Environment, environment_for
from trtbuild_backends.families import described, family_of
from trtbuild_backends.manifest import manifest
from trtbuild_backends.registry import Limits, ModelEntry, Registry, read_registry
from trtbuild_backends.wires import WorkerWire
from trtbuild_backends.worker import Launch, Worker, WorkerError, environment

_log = logging.getLogger("trtbuild.gateway")

SCHEME = "adapter:"
"""What the address of a model of the registry begins with; the rest is its name."""

_BACKOFF_SECONDS = (0.5, 1.0, 2.0, 5.0, 15.0, 60.0)
_STEADY_SECONDS = 60.0  # a worker that lived this long begins again with the first
_UNLOADED = "unloaded"


@dataclass
class _Slot:
    """What is known of one model, whatever its worker is doing."""

    name: str
    wire: WorkerWire
    state: str = "UNAVAILABLE"
    reason: str = _UNLOADED
    worker: Worker | None = None
    watching: asyncio.Task[None] | None = None
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    restarts: int = 0


class _Told:
    """Progress of an installation, as the reason why a model is not ready."""

    def __init__(self, slot: _Slot) -> None:
        self._slot = slot

    def step(self, text: str) -> None:
        """See :class:`~trtbuild.progress.Progress`."""
        if self._slot.state == "LOADING":
            self._slot.reason = text

    def advance(self, done: int, total: int, unit: str = "B") -> None:
        """See :class:`~trtbuild.progress.Progress`."""


class Supervisor:
    """The models of a registry, each with at most one worker that serves.

    Args:
        registry: The models.
        jit_install: Whether environments may be made when a model is loaded.
    """

    def __init__(self, registry: Registry, *, jit_install: bool = True) -> None:
        self._registry = registry
        self._jit_install = jit_install
        self._slots: dict[str, _Slot] = {}
        self._folder: Path | None = None
        self._ending: set[asyncio.Task[None]] = set()

    def adopt(self, registry: Path | None, *, jit_install: bool) -> None:
        """Read the registry again for the loads that come; what runs goes on as it was started.

        Raises:
            RecipeError: It cannot be read, or is wrong.
        """
        self._registry, self._jit_install = read_registry(registry), jit_install

    async def retire(self) -> None:
        """Begin to unload the models that are no longer in the registry."""
        for name, slot in list(self._slots.items()):
            if name not in self._registry.models and slot.worker is not None:
                limit = Limits().drain_seconds
                worker, slot.worker = slot.worker, None
                await self._unwatch(slot)
                slot.state, slot.reason = "UNAVAILABLE", _UNLOADED
                self._later(_drained(worker, limit))

    def wire(self, url: str) -> WorkerWire:
        """Return the client of a model by its address."""
        return self._slot(url.removeprefix(SCHEME)).wire

    def pid(self, url: str) -> int | None:
        """Return the first process of a model's worker; None without one."""
        worker = self._slot(url.removeprefix(SCHEME)).worker
        return worker.pid if worker is not None else None

    def usage(self, url: str) -> Mapping[str, float]:
        """Return what a model's backend last reported of itself."""
        worker = self._slot(url.removeprefix(SCHEME)).worker
        return worker.state.get("usage", {}) if worker is not None else {}

    async def preload(self) -> None:
        """Load the models that want it when the gateway starts."""
        names = [name for name, entry in self._registry.models.items() if entry.preload]
        for name, loaded in zip(
            names,
            await asyncio.gather(*(self.load(name) for name in names), return_exceptions=True),
            strict=True,
        ):
            if isinstance(loaded, Exception):
                _log.error("%s was not loaded: %s", name, loaded)

    def index(self, name: str) -> list[IndexEntry]:
        """Return a model's row of the repository index."""
        slot = self._slot(name)
        return [IndexEntry(name, "1", slot.state, slot.reason)]

    async def load(self, name: str) -> None:
        """Load a model, or replace its worker: the old one serves until the new one is ready.

        Raises:
            RefusedError: It cannot be loaded.
        """
        slot = self._slot(name)
        entry = self._registry.models.get(name)
        if entry is None:
            raise RefusedError(f"the model registry has no model {name!r}", status=404)
        async with slot.changing:
            slot.restarts = 0
            serving = slot.worker is not None
            if not serving:
                slot.state, slot.reason = "LOADING", ""
                await self._unwatch(slot)
            try:
                await self._replace(slot, entry)
            except BaseException as error:
                if not serving:
                    slot.state, slot.reason = "UNAVAILABLE", _reason(error)
                if isinstance(error, TrtbuildError | WorkerError | OSError):
                    raise RefusedError(_reason(error), status=500) from None
                raise

    async def unload(self, name: str) -> None:
        """Stop a model's worker."""
        slot = self._slot(name)
        await self._unwatch(slot)  # also from starting a worker again, which holds the lock
        async with slot.changing:
            await self._unwatch(slot)
            worker, slot.worker = slot.worker, None
            slot.state, slot.reason = "UNLOADING", ""
            if worker is not None:
                await _ended(worker)
            slot.state, slot.reason = "UNAVAILABLE", _UNLOADED

    async def close(self) -> None:
        """Stop every worker, and remove the sockets."""
        slots, ending = list(self._slots.values()), list(self._ending)
        for slot in slots:
            await self._unwatch(slot)
        for task in ending:
            task.cancel()
        workers = [slot.worker for slot in slots if slot.worker is not None]
        await asyncio.gather(*map(_ended, workers), *ending, return_exceptions=True)
        self._slots.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _slot(self, name: str) -> _Slot:
        if name not in self._slots:
            self._slots[name] = _Slot(name, WorkerWire(name, self))
        return self._slots[name]

    async def _replace(self, slot: _Slot, entry: ModelEntry) -> None:
        """Start a worker, and have it serve instead of the one that does."""
        worker = await self._started(slot.name, entry)
        old, slot.worker = slot.worker, worker
        slot.state, slot.reason = "READY", ""
        slot.wire.connect(worker.socket)
        await self._unwatch(slot)
        slot.watching = asyncio.create_task(self._watch(slot, worker, time.monotonic()))
        if old is not None:
            self._later(_drained(old, entry.limits.drain_seconds))

    async def _started(self, name: str, entry: ModelEntry) -> Worker:
        found = await asyncio.to_thread(self._environment, self._slot(name), entry)
        worker = await asyncio.to_thread(Worker.start, self._launch(name, entry, found))
        try:
            await worker.loaded(entry.limits.load_seconds)
        except BaseException as error:
            await asyncio.shield(_ended(worker, at_once=True))
            if isinstance(error, WorkerError) and (tail := worker.log_tail()):
                _log.warning("the worker of %s wrote:\n%s", name, tail)
                raise WorkerError(f"{error} (its output is in {worker.launch.log})") from None
            raise
        return worker

    def _environment(self, slot: _Slot, entry: ModelEntry) -> Environment:
        settings = self._registry.adapters.get(entry.adapter)
        try:
            return environment_for(
                entry.adapter, settings, install=self._jit_install, progress=_Told(slot)
            )
        finally:
            if slot.state == "LOADING":
                slot.reason = ""

    def _launch(self, name: str, entry: ModelEntry, found: Environment) -> Launch:
        known = manifest(entry.adapter, found.path)
        if entry.framework and entry.framework != known.framework:
            raise WorkerError(
                f"the adapter {entry.adapter!r} is for {known.framework}, and the registry asks "
                f"for {entry.framework}"
            )
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="trtbuild-"))  # only its owner may enter
        family = family_of(entry.source, known.architecture)
        facts = {} if family is None else described(family)
        source = ModelSource(name, entry.source, entry.revision, entry.options, facts)
        variables = {**(family.environment if family is not None else {}), **entry.environment}
        return Launch(
            found.python,
            entry.backend_class or known.backend_class,
            asdict(source),
            environment(variables, token=entry.token),
            self._folder,
            state_dir("adapters", f"{name}.log"),
        )

    async def _watch(self, slot: _Slot, worker: Worker, began: float) -> None:
        """Follow a worker; when it ends, end what is left of it and start another."""
        why = await worker.lived()
        if time.monotonic() - began > _STEADY_SECONDS:
            slot.restarts = 0
        _log.error("the worker of %s is gone: %s", slot.name, why)
        slot.state, slot.reason = "UNAVAILABLE", f"its worker is gone: {why}"
        slot.worker = None
        await asyncio.shield(_ended(worker, at_once=True))
        while slot.worker is None:
            entry = self._registry.models.get(slot.name)
            if entry is None or slot.restarts >= entry.limits.restarts:
                slot.reason += "; it is not started again until it is loaded"
                return
            seconds = _BACKOFF_SECONDS[min(slot.restarts, len(_BACKOFF_SECONDS) - 1)]
            slot.restarts += 1
            await asyncio.sleep(seconds)
            async with slot.changing:
                try:
                    await self._replace(slot, entry)
                    _log.info("the worker of %s was started again", slot.name)
                except (TrtbuildError, WorkerError, OSError) as error:
                    slot.reason = f"its worker could not be started again: {_reason(error)}"

    async def _unwatch(self, slot: _Slot) -> None:
        watching, slot.watching = slot.watching, None
        if watching is not None and watching is not asyncio.current_task():
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


async def _drained(worker: Worker, seconds: float) -> None:
    """End a worker that was replaced, once its requests have ended."""
    try:
        async with asyncio.timeout(seconds):
            await worker.idle()
    except (WorkerError, TimeoutError):
        pass  # what is left gets an error
    finally:
        await asyncio.shield(_ended(worker))


async def _ended(worker: Worker, *, at_once: bool = False) -> None:
    await asyncio.to_thread(worker.stop, at_once=at_once)
    await worker.leave()


def _reason(error: BaseException) -> str:
    if isinstance(error, TrtbuildError):
        parts = (error.what, f"({error.where})" if error.where else "", *error.details)
        return " ".join(filter(None, parts)) + (f"; {error.fix}" if error.fix else "")
    return str(error) or type(error).__name__

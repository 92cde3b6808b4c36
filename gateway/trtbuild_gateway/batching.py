"""Computes batches with the gateway's own endpoints: one of each caller at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field

from trtbuild_gateway.batches.job import Answerer, Job
from trtbuild_gateway.batches.store import OPEN, Store
from trtbuild_gateway.settings import BatchSettings

_log = logging.getLogger("trtbuild.gateway")

# Another process on the directory, such as the one before us, may end with a batch unfinished.
_AGAIN_SECONDS = 30.0


@dataclass(slots=True)
class Batching:
    """Whoever computes the batches of a directory.

    The batches of one caller are computed one after another; those of other callers meanwhile,
    so that nobody waits for a batch that a limit of its own key holds up.

    Args:
        store: The directory.
        settings: How many requests at a time.
        answerer: What answers the lines.
    """

    store: Store
    settings: BatchSettings
    answerer: Answerer
    _new: asyncio.Event = field(default_factory=asyncio.Event)
    _running: dict[str, Job] = field(default_factory=dict)
    _room: asyncio.Semaphore = field(init=False)
    _failed: set[str] = field(default_factory=set)
    _woken: int = 0

    def __post_init__(self) -> None:
        self._room = asyncio.Semaphore(self.settings.most_in_flight)

    def wake(self) -> None:
        """Look for new batches."""
        self._woken += 1
        self._failed.clear()
        self._new.set()

    def cancel(self, name: str) -> None:
        """End a batch that is being computed; what is done of it is kept."""
        if job := self._running.get(name):
            job.stop()

    async def run(self) -> None:
        """Compute batches until cancelled, also those that an earlier process left."""
        working: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                self._new.clear()
                for owner in {owner for _, owner in await asyncio.to_thread(self.store.unfinished)}:
                    if owner not in working or working[owner].done():
                        working[owner] = asyncio.create_task(self._work(owner))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_AGAIN_SECONDS):
                        await self._new.wait()
        finally:
            for task in working.values():
                task.cancel()
            await asyncio.gather(*working.values(), return_exceptions=True)

    async def _work(self, owner: str) -> None:
        """Compute the batches of a caller; those that fail are skipped until there is new work,
        and those that another process computes until the next look."""
        held: set[str] = set()
        while True:
            woken = self._woken
            unfinished = await asyncio.to_thread(self.store.unfinished)
            skipped = held | self._failed
            left = (name for name, whose in unfinished if whose == owner and name not in skipped)
            name = next(left, None)
            if name is None:
                if woken == self._woken:
                    return
            elif not await self._computed(name, owner):
                held.add(name)

    async def _computed(self, name: str, owner: str) -> bool:
        """Compute a batch; False if another process does, or it failed in a way of ours."""
        batch = self.store.batch(name, owner)
        job = Job(self.store, self.settings, self.answerer, self._room, batch, owner)
        self._running[name] = job
        try:
            await job.run()
        except Exception as error:  # of the disk, mostly: it must not end the other batches
            _log.error("batch %s waits for the next start", name, exc_info=error)
            self._failed.add(name)
        finally:
            del self._running[name]
        return self.store.batch(name, owner)["status"] not in OPEN

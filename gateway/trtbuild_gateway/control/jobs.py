"""Loads and unloads: one at a time for each model, each with a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

from trtbuild_gateway.control.places import Place
from trtbuild_gateway.failures import ApiError, of_exception

_log = logging.getLogger("trtbuild.gateway")

Action = Literal["load", "unload"]


@dataclass
class Job:
    """A load or an unload.

    Attributes:
        action, place: What it does to which model.
        id: Its name in answers.
        phase: What it does now.
        notes: What it did, for the answer.
        began: In seconds since 1970.
        seconds: How long it took; None while it runs.
        error: Why it failed.
    """

    action: Action
    place: Place
    id: str = field(default_factory=lambda: uuid4().hex[:12])
    phase: str = "starting"
    notes: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.time)
    seconds: float | None = None
    error: ApiError | None = None

    @property
    def status(self) -> str:
        """``running``, ``done`` or ``failed``."""
        if self.seconds is None:
            return "running"
        return "done" if self.error is None else "failed"

    def described(self) -> dict[str, Any]:
        """Return the JSON value of answers."""
        made: dict[str, Any] = {
            "id": self.id,
            "action": self.action,
            "status": self.status,
            "began": round(self.began, 3),
        }
        if self.seconds is None:
            return made | {"phase": self.phase} | self.notes
        made |= {"seconds": round(self.seconds, 3)} | self.notes
        return made if self.error is None else made | self.error.body()


Work = Callable[[Job], Awaitable[None]]


class Jobs:
    """The last job of each model. ``changed`` is called whenever one has news."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._jobs: dict[Place, Job] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def of(self, place: Place) -> Job | None:
        """Return the last job of a model."""
        return self._jobs.get(place)

    @property
    def ended_jobs(self) -> Sequence[Job]:
        """The last jobs of models of which none runs."""
        return [job for job in self._jobs.values() if job.seconds is not None]

    def start(self, action: Action, place: Place, work: Work) -> Job:
        """Begin a job, or return the one of the same kind that runs already.

        Raises:
            ApiError: A job of the other kind runs (409).
        """
        running = self._jobs.get(place)
        if running is not None and running.seconds is None:
            if running.action == action:
                return running
            raise ApiError(
                409,
                f"{place.model!r} is busy: job {running.id} has to {running.action} it first",
                param="model",
                code="model_busy",
            )
        job = self._jobs[place] = Job(action, place)
        self._tasks[job.id] = asyncio.create_task(self._run(job, work))
        return job

    async def ended(self, job: Job) -> None:
        """Wait for the end of a job, which goes on if the wait is cancelled."""
        task = self._tasks.get(job.id)
        if task is not None:
            await asyncio.wait((task,))

    def note(self, job: Job, phase: str, **notes: Any) -> None:
        """Note what a job does now."""
        job.phase = phase
        job.notes |= notes
        self._changed()

    async def close(self) -> None:
        """End all jobs."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, job: Job, work: Work) -> None:
        began = time.monotonic()
        name = job.place.model
        _log.info("job %s: %s %s", job.id, job.action, name)
        try:
            await work(job)
        except Exception as error:
            job.error = of_exception(error, name)
            unexpected = job.error.code == "internal_error"
            _log.warning(
                "job %s: %s %s failed: %s",
                *(job.id, job.action, name, job.error.message),
                exc_info=error if unexpected else None,
            )
        finally:
            job.seconds = time.monotonic() - began
            self._tasks.pop(job.id, None)
            with contextlib.suppress(Exception):
                self._changed()

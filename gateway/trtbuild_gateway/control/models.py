"""How a model is loaded and unloaded, and what state it is in."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

from trtbuild.wire.failures import DeadlineError, RefusedError, WireError
from trtbuild.wire.records import IndexEntry
from trtbuild_gateway.control.jobs import Job, Jobs
from trtbuild_gateway.control.places import Place, places, rows
from trtbuild_gateway.control.warming import warm_up
from trtbuild_gateway.failures import ApiError, of_exception
from trtbuild_gateway.gateway import Gateway
from trtbuild_gateway.settings import ControlSettings
from trtbuild_gateway.upstream.catalog import Catalog

_POLL_SECONDS = 0.2
_ADMIN_SECONDS = 10.0
_CANCEL_SECONDS = 5.0  # for cancelled requests to answer their clients
_GONE = ("unloaded", "")


class Models:
    """The models of all servers, with the jobs that change them."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._news = asyncio.Event()
        self.jobs = Jobs(self._tell)

    @property
    def _catalog(self) -> Catalog:
        return self._gateway.catalog

    @property
    def _settings(self) -> ControlSettings:
        return self._gateway.settings.control

    def load(self, place: Place, *, warm: bool) -> Job:
        """Begin to load a model; ApiError 409 while it is being unloaded."""
        return self.jobs.start("load", place, partial(self._load, warm=warm))

    def unload(self, place: Place, *, seconds: float | None = None) -> Job:
        """Begin to unload a model; ApiError 409 while it is being loaded.

        Args:
            place: The model.
            seconds: How long its open requests may go on; None: as configured.
        """
        patience = self._settings.unload_seconds if seconds is None else seconds
        return self.jobs.start("unload", place, partial(self._unload, patience=patience))

    async def changed(self, seconds: float) -> None:
        """Wait until a job has news, at most this long."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return

    def release(self) -> None:
        """Offer models again that did not answer, once their server has let go of them: whatever
        it loads then, perhaps after a restart, is another."""
        for job in self.jobs.ended_jobs:
            requests = self._catalog.requests(*job.place)
            found = rows(self._catalog, job.place)
            if requests.refusal and not any(row.state == "READY" for row in found):
                requests.refusal = ""

    async def states(self) -> list[dict[str, Any]]:
        """Return the state of every model that a server reports now."""
        await self._catalog.refresh()
        return [self.state(place) for place in places(self._catalog)]

    def state(self, place: Place) -> dict[str, Any]:
        """Return the state of a model as its server last reported it."""
        found = rows(self._catalog, place)
        job = self.jobs.of(place)
        requests = self._catalog.requests(*place)
        state = _state_of(found, job, refused=bool(requests.refusal))
        step = [row.reason for row in found if row.state == "LOADING"]  # what a worker is doing
        reasons = [*step, requests.refusal, *(row.reason for row in found)]
        reason = next((one for one in reasons if one not in _GONE), "")
        made: dict[str, Any] = {"id": place.model, "object": "model.state", "state": state}
        made |= {"reason": reason} if reason and state != "ready" else {}
        made |= {
            "server": place.url,
            "names": sorted(self._catalog.names(*place)),
            "versions": [
                {"version": row.version, "state": row.state} | _reason(row)
                for row in found
                if row.version
            ],
            "requests_in_flight": len(requests),
        }
        return made if job is None else made | {"job": job.described()}

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _load(self, job: Job, *, warm: bool) -> None:
        place, catalog = job.place, self._catalog
        requests, limit = catalog.requests(*place), self._settings.load_seconds
        serving = any(row.state == "READY" for row in rows(catalog, place))
        requests.refusal = "" if serving else "is being loaded"
        self.jobs.note(job, "loading", replaces=serving)
        began = time.monotonic()
        try:
            await self._load_on_server(place, limit, serving=serving)
            requests.refusal = requests.refusal and "is loaded, but has not answered yet"
            if warm:
                self.jobs.note(job, "warming up")
                await self._warm_up(job, max(_ADMIN_SECONDS, limit - time.monotonic() + began))
            requests.refusal = ""
        except _NoAnswerError as error:
            requests.refusal = requests.refusal and f"was loaded, but does not answer: {error}"
            raise error.answer from None
        except BaseException:
            requests.refusal = ""
            raise
        finally:
            await self._look_again(place)
        job.notes["versions"] = [r.version for r in rows(catalog, place) if r.state == "READY"]

    async def _load_on_server(self, place: Place, seconds: float, *, serving: bool) -> None:
        try:
            await self._catalog.wire(place.url).load(place.model, seconds=seconds)
        except RefusedError as error:
            still = "; the model that was loaded before goes on serving" if serving else ""
            raise _refused(error, f"the server could not load {place.model!r}{still}") from None
        except DeadlineError:
            raise ApiError(
                504,
                f"the server has not loaded {place.model!r} within {seconds:g} s and may still be "
                "at it; see its state, or raise control.load_seconds",
                code="load_timeout",
            ) from None

    async def _warm_up(self, job: Job, seconds: float) -> None:
        """Have the model answer a request."""
        model = await self._catalog.described(*job.place)
        if model is None:
            job.notes["warm_up"] = "skipped: no request schema fits the model"
            return
        began = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                asked = await warm_up(model)
        except Exception as error:
            raise _NoAnswerError(of_exception(error, job.place.model)) from None
        took = time.monotonic() - began
        job.notes |= (
            {"warm_up_seconds": round(took, 3)}
            if asked
            else {"warm_up": f"skipped: nothing to ask a model for {model.served.task}"}
        )

    async def _unload(self, job: Job, *, patience: float) -> None:
        place = job.place
        requests = self._catalog.requests(*place)
        requests.refusal = "is being unloaded"
        try:
            self.jobs.note(job, "waiting for open requests", requests=len(requests))
            if not await requests.none_left(patience):
                cancelled = requests.end("was unloaded before the answer was complete")
                self.jobs.note(job, "cancelling open requests", cancelled=cancelled)
                await requests.none_left(_CANCEL_SECONDS)
            self.jobs.note(job, "unloading")
            await self._unload_on_server(place, self._settings.unload_seconds)
        finally:
            requests.refusal = ""
            await self._look_again(place)

    async def _unload_on_server(self, place: Place, seconds: float) -> None:
        wire = self._catalog.wire(place.url)
        until = time.monotonic() + seconds
        try:
            await wire.unload(place.model, dependents=True, seconds=seconds)
        except RefusedError as error:
            raise _refused(error, f"the server could not unload {place.model!r}") from None
        while True:
            index = await wire.index(seconds=_ADMIN_SECONDS)
            states = {row.state for row in index if row.name == place.model}
            if states <= {"", "UNAVAILABLE"}:
                return
            if time.monotonic() > until:
                break
            await asyncio.sleep(_POLL_SECONDS)
        raise ApiError(
            504,
            f"the server takes no requests for {place.model!r} any more, but has not released it "
            f"within {seconds:g} s: other clients may have open requests, or it keeps a cancelled "
            "stream, as Triton 24.10 can; load the model again, or restart the server to free "
            "its memory",
            code="unload_timeout",
        )

    async def _look_again(self, place: Place) -> None:
        """Have the catalog find out what there is now."""
        self._catalog.forget(*place)
        await self._catalog.refresh()
        self._tell()


class _NoAnswerError(Exception):
    """A model that was loaded does not answer."""

    def __init__(self, cause: ApiError) -> None:
        super().__init__(cause.message)
        self.answer = ApiError(
            502, f"the model was loaded, but does not answer: {cause.message}", code="no_answer"
        )


def _state_of(found: list[IndexEntry] | Any, job: Job | None, *, refused: bool) -> str:
    states = {row.state for row in found}
    running = job.action if job is not None and job.seconds is None else ""
    if running == "unload" or ("UNLOADING" in states and "READY" not in states):
        return "unloading"
    if "READY" in states and not refused:
        return "ready"
    if running == "load" or "LOADING" in states:
        return "loading"
    if refused or any(row.state == "UNAVAILABLE" and row.reason not in _GONE for row in found):
        return "failed"
    return "unloaded"


def _reason(row: IndexEntry) -> dict[str, str]:
    return {"reason": row.reason} if row.reason else {}


def _refused(error: WireError, what: str) -> ApiError:
    why = " ".join(str(error).split()).rstrip(" ;")
    if "explicit" in why and "not allowed" in why:
        return ApiError(
            501,
            f"{what}: {why}; start it with --model-control-mode=explicit",
            code="model_control_off",
        )
    return ApiError(502, f"{what}: {why}", code="refused_by_server")

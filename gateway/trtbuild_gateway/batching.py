"""Computes batches, one after another, with the gateway's own endpoints."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message

from trtbuild_batch.engine import Aimd, CallError, Engine, Kind, Outcome, Policy, Receipt
from trtbuild_batch.output.journal import Journal, sync_all
from trtbuild_gateway.batches.lines import Line, check, results
from trtbuild_gateway.batches.store import OPEN, Store
from trtbuild_gateway.settings import BatchSettings

_log = logging.getLogger("trtbuild.gateway")
_SYNC_SECONDS = 0.5
_SAVE_SECONDS = 1.0
_KINDS = {408: Kind.TIMEOUT, 429: Kind.RATE, 502: Kind.UNAVAILABLE, 503: Kind.UNAVAILABLE,
          504: Kind.UNAVAILABLE}  # fmt: skip

Answerer = Callable[[str, str], ASGIApp]
"""Returns the endpoint of a path, as the caller with the given id uses it."""


@dataclass(slots=True)
class Batching:
    """Whoever computes the batches of a directory.

    Args:
        store: The directory.
        settings: How many at a time.
        answerer: What answers the lines.
    """

    store: Store
    settings: BatchSettings
    answerer: Answerer
    _new: asyncio.Event = field(default_factory=asyncio.Event)
    _running: dict[str, _Job] = field(default_factory=dict)

    def wake(self) -> None:
        """Look for new batches."""
        self._new.set()

    def cancel(self, name: str) -> None:
        """End a batch that is being computed; what is done of it is kept."""
        if job := self._running.get(name):
            job.stop()

    async def run(self) -> None:
        """Compute batches until cancelled, also those that an earlier process left."""
        while True:
            self._new.clear()
            skipped: set[str] = set()
            while left := [one for one in self.store.unfinished() if one[0] not in skipped]:
                name, owner = left[0]
                if not await self._computed(name, owner):
                    skipped.add(name)
            await self._new.wait()

    async def _computed(self, name: str, owner: str) -> bool:
        """Compute a batch; False if another process does, or it failed in a way of ours."""
        job = self._running[name] = _Job(self, self.store.batch(name, owner), owner)
        try:
            await job.run()
        except Exception as error:  # of the disk, mostly: it must not end the other batches
            _log.error("batch %s waits for the next start", name, exc_info=error)
        finally:
            del self._running[name]
        return self.store.batch(name, owner)["status"] not in OPEN


@dataclass(slots=True)
class _Job:
    """One batch."""

    batching: Batching
    batch: dict[str, Any]
    owner: str
    _lines: Sequence[Line] = ()
    _done: dict[int, Receipt] = field(default_factory=dict)
    _saved: float = 0.0
    _asking: asyncio.Task[None] | None = None
    _stopped: bool = False

    def stop(self) -> None:
        """End it before its end."""
        self._stopped = True
        self.batch["cancelling_at"] = int(time.time())
        if self._asking is not None:
            self._asking.cancel()

    async def run(self) -> None:
        content = await asyncio.to_thread(self._input)
        if content is None:
            self._fail([_problem("the input file is gone")])
            return
        batch = self.batch
        settings = self.batching.settings
        checked = await asyncio.to_thread(check, content, batch["endpoint"], settings.most_lines)
        if checked.problems:
            self._fail(checked.problems)
            return
        self._lines = checked.lines
        journal = Journal(self.batching.store.journal_of(batch["id"]), batch["id"])
        if not journal.open():
            return  # another gateway on this directory computes it
        self._done = journal.known
        try:
            await self._compute(journal)
        finally:
            journal.close()

    def _input(self) -> bytes | None:
        try:
            return self.batching.store.data_of(self.batch["input_file_id"]).read_bytes()
        except OSError:
            return None

    async def _compute(self, journal: Journal) -> None:
        batch = self.batch
        if batch["status"] == "validating":
            self._enter("in_progress")
        self._stopped = self._stopped or batch["status"] == "cancelling"
        in_time = True
        if batch["status"] == "in_progress" and not self._stopped:
            in_time = await self._asked_in_time(journal)
        end = "cancelled" if self._stopped else "completed" if in_time else "expired"
        await asyncio.to_thread(self._finish, end)

    async def _asked_in_time(self, journal: Journal) -> bool:
        """Ask about all lines, or until it is stopped; False if the time is up."""
        self._asking = asyncio.create_task(self._ask(journal))
        try:
            done, _ = await asyncio.wait(
                [self._asking], timeout=self.batch["expires_at"] - time.time()
            )
            if done and not self._asking.cancelled():
                self._asking.result()
            return bool(done)
        finally:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    async def _ask(self, journal: Journal) -> None:
        left = [line for line in self._lines if line.number not in self._done]
        answer = self.batching.answerer(self.batch["endpoint"], self.owner)

        async def ask(line: Line) -> Outcome:
            return await asked(answer, self.batch["endpoint"], line.body)

        def record(line: Line, receipt: Receipt) -> None:
            journal.append(line.number, receipt)
            self._done[line.number] = receipt
            self._count()

        limiter = Aimd(most=self.batching.settings.most_in_flight)
        policy = Policy(patience=float("inf"), failing=1.0)
        engine: Engine[Line] = Engine(ask, record, limiter, policy)
        syncing = asyncio.create_task(_synced(journal))
        try:
            await engine.run(_batches(left))
        finally:
            syncing.cancel()

    def _count(self, *, now: bool = False) -> None:
        """Bring the counts up to date, on the disk once a second."""
        receipts = self._done.values()
        if not now and time.monotonic() - self._saved < _SAVE_SECONDS:
            return
        self._saved = time.monotonic()
        failed = sum(one.outcome is None for one in receipts)
        self.batch["request_counts"] = {
            "total": len(self._lines),
            "completed": len(self._done) - failed,
            "failed": failed,
        }
        made = [one.outcome for one in receipts if one.outcome is not None]
        given = sum(one.prompt_tokens or 0 for one in made)
        written = sum(one.completion_tokens or 0 for one in made)
        self.batch["usage"] = {
            "input_tokens": given,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": given + written,
        }
        self._save()

    def _finish(self, end: str) -> None:
        """Write the output files, and enter the last state."""
        if end == "expired":
            late = Receipt(None, 0, 0.0, "the batch expired before this request", "batch_expired")
            for line in self._lines:
                self._done.setdefault(line.number, late)
        if end == "completed":
            self._enter("finalizing")
        self._count(now=True)
        store, batch = self.batching.store, self.batch
        for key, good in (("output_file_id", True), ("error_file_id", False)):
            content = b"".join(results(batch["id"], self._lines, self._done, good=good))
            if content:
                name = f"{batch['id']}_{'output' if good else 'error'}.jsonl"
                made = store.add_file(content, name, "batch_output", self.owner)
                batch[key] = made["id"]
        self._enter(end)
        store.journal_of(batch["id"]).unlink(missing_ok=True)

    def _fail(self, problems: Sequence[Mapping[str, Any]]) -> None:
        self.batch["errors"] = {"object": "list", "data": list(problems)}
        self._enter("failed")

    def _enter(self, status: str) -> None:
        self.batch["status"] = status
        self.batch[f"{status}_at"] = int(time.time())
        self._save()

    def _save(self) -> None:
        self.batching.store.save_batch(self.batch, self.owner)


def _problem(message: str) -> dict[str, Any]:
    return {"code": "invalid_file", "line": None, "message": message, "param": "input_file_id"}


async def _batches(lines: Sequence[Line]) -> AsyncIterator[Sequence[Line]]:
    yield lines


async def _synced(journal: Journal) -> None:
    while True:
        await asyncio.sleep(_SYNC_SECONDS)
        if (fd := journal.unsynced()) >= 0:
            await asyncio.to_thread(sync_all, [fd])


async def asked(app: ASGIApp, path: str, body: bytes) -> Outcome:
    """Return the answer of an endpoint to a body. CallError if it is an error."""
    answer = await _called(app, path, body)
    if answer.status == 200:
        return _outcome(answer.body)
    kind = _KINDS.get(answer.status, Kind.SERVER if answer.status >= 500 else Kind.REFUSED)
    message = answer.body.decode("utf-8", "replace")
    with contextlib.suppress(msgspec.DecodeError, LookupError, TypeError):
        error = msgspec.json.decode(answer.body)["error"]
        message = str(error["message"])
        if error.get("code") == "context_length_exceeded":
            kind = Kind.CONTEXT
    wait = answer.headers.get("retry-after", "")
    raise CallError(kind, message, retry_after=float(wait) if wait.isdigit() else None)


@dataclass(slots=True)
class _Answer:
    status: int = 500
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


async def _called(app: ASGIApp, path: str, body: bytes) -> _Answer:
    answer = _Answer()
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()  # this client never leaves
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            pairs = message.get("headers", ())
            answer.headers = {name.decode().lower(): value.decode() for name, value in pairs}
        else:
            answer.body += message.get("body", b"")

    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "headers": headers, "client": None, "server": ("127.0.0.1", 0),
        "path_params": {},
    }  # fmt: skip
    await app(scope, receive, send)
    return answer


def _outcome(body: bytes) -> Outcome:
    usage: dict[str, Any] = {}
    with contextlib.suppress(msgspec.DecodeError, LookupError, TypeError, AttributeError):
        usage = msgspec.json.decode(body).get("usage") or {}
    given = usage.get("prompt_tokens", usage.get("input_tokens"))
    made = usage.get("completion_tokens", usage.get("output_tokens"))
    return Outcome(body.decode("utf-8"), "", given, made)

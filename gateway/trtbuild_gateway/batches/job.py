"""One batch: its lines are asked about, and its output files written."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, BinaryIO

from starlette.types import ASGIApp

from trtbuild_batch.engine import Aimd, Engine, Outcome, Policy, Receipt
from trtbuild_batch.output.journal import Journal, receipts, sync_all
from trtbuild_gateway.batches.calling import asked
from trtbuild_gateway.batches.lines import Line, body_of, check, results
from trtbuild_gateway.batches.store import OPEN, Store
from trtbuild_gateway.settings import BatchSettings

_SYNC_SECONDS = 0.5
_SAVE_SECONDS = 1.0

Answerer = Callable[[str, str, bytes], ASGIApp]
"""Returns the endpoint of a path, as the caller with the given id and grant uses it."""


@dataclass(slots=True)
class Job:
    """Computes one batch.

    Args:
        store: Where it is kept.
        settings: How large it may be.
        answerer: What answers the lines.
        room: For the requests of all batches together.
        batch: Its object, which is changed.
        owner: Whose it is.
    """

    store: Store
    settings: BatchSettings
    answerer: Answerer
    room: asyncio.Semaphore
    batch: dict[str, Any]
    owner: str
    _lines: Sequence[Line] = ()
    _input: BinaryIO = field(default_factory=io.BytesIO)
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
        """Compute it to its end, unless another process does; go on with what is done."""
        try:
            self._input = self.store.data_of(self.batch["input_file_id"]).open("rb")
        except OSError:
            self._fail([_problem("the input file is gone")])
            return
        with self._input:
            await self._run()

    async def _run(self) -> None:
        batch = self.batch
        most = self.settings.most_lines
        checked = await asyncio.to_thread(check, self._input, batch["endpoint"], most)
        if checked.problems:
            self._fail(checked.problems)
            return
        self._lines = checked.lines
        journal = Journal(self.store.journal_of(batch["id"]), batch["id"], _slim)
        if not await asyncio.to_thread(journal.open):
            return  # another gateway on this directory computes it
        try:
            now = self.store.batch(batch["id"], self.owner)
            if now["status"] not in OPEN:  # it did, until a moment ago
                journal.discard()
                return
            if not self._stopped:
                batch.update(now)
            self._done = journal.known
            await self._compute(journal)
        finally:
            journal.close()

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
        grant = self.store.grant_of(self.batch["id"])
        answer = self.answerer(self.batch["endpoint"], self.owner, grant)

        async def ask(line: Line) -> Outcome:
            async with self.room:
                return await asked(answer, self.batch["endpoint"], body_of(self._input, line))

        def record(line: Line, receipt: Receipt) -> None:
            journal.append(line.number, receipt)
            self._done[line.number] = _slim(receipt)
            self._count()

        limiter = Aimd(most=self.settings.most_in_flight)
        policy = Policy(patience=float("inf"), failing=1.0)
        engine: Engine[Line] = Engine(ask, record, limiter, policy)
        syncing = asyncio.create_task(_synced(journal))
        try:
            await engine.run(_batches(left))
        finally:
            syncing.cancel()

    def _count(self, *, now: bool = False) -> None:
        """Bring the counts up to date, on the disk once a second."""
        if not now and time.monotonic() - self._saved < _SAVE_SECONDS:
            return
        self._saved = time.monotonic()
        failed = sum(one.outcome is None for one in self._done.values())
        self.batch["request_counts"] = {
            "total": len(self._lines),
            "completed": len(self._done) - failed,
            "failed": failed,
        }
        made = [one.outcome for one in self._done.values() if one.outcome is not None]
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
        store, batch = self.store, self.batch
        for key, good in (("output_file_id", True), ("error_file_id", False)):
            made = results(batch["id"], self._lines, self._receipts(), good=good)
            if (first := next(made, None)) is not None:
                name = f"{batch['id']}_{'output' if good else 'error'}.jsonl"
                file = store.add_file(chain((first,), made), name, "batch_output", self.owner)
                batch[key] = file["id"]
        self._enter(end)
        store.journal_of(batch["id"]).unlink(missing_ok=True)

    def _receipts(self) -> Iterator[tuple[int, Receipt]]:
        """Yield all receipts: the journal's, and those of lines that nobody asked about."""
        late = dict(self._done)
        for number, receipt in receipts(self.store.journal_of(self.batch["id"])):
            if late.pop(number, None) is not None:
                yield number, receipt
        yield from late.items()

    def _fail(self, problems: Sequence[Mapping[str, Any]]) -> None:
        self.batch["errors"] = {"object": "list", "data": list(problems)}
        self._enter("failed")

    def _enter(self, status: str) -> None:
        self.batch["status"] = status
        self.batch[f"{status}_at"] = int(time.time())
        self._save()

    def _save(self) -> None:
        self.store.save_batch(self.batch, self.owner)


def _slim(receipt: Receipt) -> Receipt:
    """Return a receipt without its answer, which the journal has: all answers of a batch are too
    much for the memory."""
    outcome = receipt.outcome
    if outcome is None:
        return replace(receipt, error="")
    return replace(receipt, outcome=replace(outcome, output=""))


def _problem(message: str) -> dict[str, Any]:
    return {"code": "invalid_file", "line": None, "message": message, "param": "input_file_id"}


async def _batches(lines: Sequence[Line]) -> AsyncIterator[Sequence[Line]]:
    yield lines


async def _synced(journal: Journal) -> None:
    while True:
        await asyncio.sleep(_SYNC_SECONDS)
        if (fd := journal.unsynced()) >= 0:
            await asyncio.to_thread(sync_all, [fd])

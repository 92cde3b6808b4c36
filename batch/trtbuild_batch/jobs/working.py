"""The engine at work on a job, and what happens beside it: syncing, showing, pacing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict, dataclass, field
from typing import Any

from trtbuild.errors import BuildError, ServerError
from trtbuild.progress import Progress
from trtbuild_batch.asking import Task, requests_of
from trtbuild_batch.engine import (
    CallError,
    Engine,
    Kind,
    Outcome,
    Policy,
    Receipt,
    StoppedError,
)
from trtbuild_batch.inputs import Source
from trtbuild_batch.jobs.feeding import Feeder, Item
from trtbuild_batch.jobs.pacing import pacer
from trtbuild_batch.jobs.tally import Snapshot, Tally
from trtbuild_batch.options import RunOptions
from trtbuild_batch.output import contents, parts
from trtbuild_batch.output.claims import Claims
from trtbuild_batch.output.record import Record
from trtbuild_batch.output.writer import STATE, Part, PartTakenError, Writer
from trtbuild_batch.targets import Target
from trtbuild_batch.targets.opening import Address

Watch = Callable[[Snapshot], None]

_SYNC_SECONDS = 0.5
_SHOW_SECONDS = 1.0
_LOOKS = 4  # at the claims of others, in the time that one lasts


@dataclass(slots=True)
class Work:
    """One run of a job in this process."""

    options: RunOptions
    source: Source
    address: Address
    target: Target
    task: Task
    record: Record
    writer: Writer
    progress: Progress
    watch: Watch
    _tally: Tally = field(init=False)
    _claims: Claims | None = None
    _made: set[int] = field(default_factory=set)

    async def run(self) -> Snapshot:
        """Ask about all rows of ours that have no receipt yet.

        Raises:
            ServerError: The target is away for too long, or too many calls fail.
            BuildError: The disk or the object store.
        """
        wanted = self._wanted()
        if self.options.claim:
            self._claims = Claims(self.writer.folder, self.options.lease)
            self.writer.after = self._claims.release
        pace = pacer(self.options, self.address, slowdown=self.options.slowdown)
        engine: Engine[Item] = Engine(
            self._ask,
            self._done,
            pace.limiter,
            self._policy(),
            self.target.alive,
            requests=lambda item: requests_of(item.question),
        )
        feeder = Feeder(
            self.source, self.record, self.task, self.writer, self._begin, self._receive
        )
        self.progress.step(f"asking about {self._tally.rows - self._tally.done} rows")

        async def main() -> None:
            left = wanted
            if left:
                await pace.begin(engine)
            while left:
                await engine.run(feeder.items(left))
                await self.writer.finish()
                if left := self._left(left):  # others have claimed these, and may be lost
                    await asyncio.sleep(self.options.lease / _LOOKS)

        try:
            await _beside(
                main(),
                _every(_SYNC_SECONDS, self.writer.sync),
                _every(_SHOW_SECONDS, lambda: self._show(engine)),
                _every(_SHOW_SECONDS, self._renew),
                pace.follow(engine),
            )
        except StoppedError as error:
            raise self._stopped(error) from None
        finally:
            await self.writer.close()
            contents.forget_progress(self.writer.scratch, self.options.share()[0])
            if self._claims:
                with contextlib.suppress(BuildError):  # then they lapse
                    self._claims.give_up()
        return self._snapshot(engine)

    def _wanted(self) -> list[int]:
        """Return our parts that are not published; count the rows of the others."""
        index, count = self.options.share()
        ours = [number for number in range(self.record.parts) if number % count == index]
        spans = [self.record.span(number) for number in ours]
        price = self.options.gpu_price
        self._tally = Tally(
            sum(last - first for first, last in spans),
            time.perf_counter(),
            None if price is None else price * self.options.gpus / 3600,
        )
        wanted = set(ours)
        for number in wanted & set(contents.published(self.writer.folder)):
            found = parts.counts(self.writer.folder / parts.name_of(number))
            if self.writer.retries and found["errors"]:
                continue
            wanted.discard(number)
            self._tally.found(found["rows"], found["errors"])
            self.writer.drop_journal(number)
        return sorted(wanted)

    def _policy(self) -> Policy:
        options = self.options
        return Policy(
            attempts=options.attempts, patience=options.patience, failing=options.max_failing
        )

    def _left(self, wanted: list[int]) -> list[int]:
        """Return what of the wanted parts others have claimed and not published."""
        if self._claims is None:
            return []
        there = set(contents.published(self.writer.folder))
        for number in there.intersection(wanted) - self._made:
            found = parts.counts(self.writer.folder / parts.name_of(number))
            self._tally.found(found["rows"], found["errors"])
        return [number for number in wanted if number not in there]

    async def _renew(self) -> None:
        if self._claims:
            await asyncio.to_thread(self._claims.renew)

    async def _begin(self, number: int) -> Part | None:
        """Open a part; None if another process has it, or has published it."""
        claims = self._claims
        if claims is None:
            return await self._opened(number)
        if not await asyncio.to_thread(claims.take, number):
            return None
        if (self.writer.folder / parts.name_of(number)).exists:  # published before we claimed it
            await asyncio.to_thread(claims.release, number)
            return None
        try:
            part = await self._opened(number)
        except PartTakenError:  # by one whose claim lapsed while it was held up: it goes on
            await asyncio.to_thread(claims.withdraw, number)
            return None
        self._made.add(number)
        return part

    async def _opened(self, number: int) -> Part:
        part = await self.writer.open(number)
        self._tally.found(len(part.done), sum(bool(one.kind) for one in part.done.values()))
        return part

    async def _ask(self, item: Item) -> Outcome:
        outcome = await self.target.ask(item.question)
        if isinstance(outcome.output, bytes) and (problem := self._problem(outcome.output)):
            raise CallError(Kind.MALFORMED, problem)
        return outcome

    def _problem(self, numbers: bytes) -> str:
        """Return what is wrong with a vector or scores: it would be wrong silently."""
        import numpy as np

        found = np.frombuffer(numbers, dtype="<f4")
        dimension = self.writer.layout.dimension
        if dimension and len(found) != dimension:
            return f"the vector has {len(found)} numbers instead of {dimension}"
        return "" if np.isfinite(found).all() else "a number is not finite"

    def _done(self, item: Item, receipt: Receipt) -> None:
        self._receive(item.row, receipt)

    def _receive(self, row: int, receipt: Receipt) -> None:
        self.writer.done(row, receipt)
        self._tally.add(receipt)

    def _snapshot(self, engine: Engine[Item]) -> Snapshot:
        return self._tally.snapshot(
            time.perf_counter(),
            in_flight=engine.in_flight,
            limit=engine.limiter.limit,
            retries=engine.retries,
        )

    async def _show(self, engine: Engine[Item]) -> None:
        now = self._snapshot(engine)
        self.watch(now)
        contents.say_progress(self.writer.scratch, self.options.share()[0], asdict(now))

    def _stopped(self, error: StoppedError) -> ServerError:
        return ServerError(
            f"the job stopped: {error.reason}",
            where=f"{error.last.kind}: {error.last.message}",
            details=(f"{self._tally.done} of {self._tally.rows} rows are done",),
            fix=f"look at the server's log, then {STATE}",
        )


async def _every(seconds: float, act: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        await act()


async def _beside(main: Coroutine[Any, Any, None], *others: Coroutine[Any, Any, None]) -> None:
    """Run ``main``, and the others until it ends. The first error ends all."""
    first, *rest = [asyncio.ensure_future(one) for one in (main, *others)]
    try:
        waiting = {first, *rest}
        while not first.done():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for error in [task.exception() for task in done]:
                if error is not None:
                    raise error
    finally:
        for task in (first, *rest):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(first, *rest, return_exceptions=True)

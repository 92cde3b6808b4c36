"""Refresh the vectors of a sink: plan, embed, apply, take note. Each step may be repeated."""

from __future__ import annotations

import asyncio
import json
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from trtbuild.errors import BuildError
from trtbuild.progress import Progress
from trtbuild_batch.asking import Embed
from trtbuild_batch.inputs import Source, open_source
from trtbuild_batch.jobs import looking, preparing
from trtbuild_batch.jobs import run as running
from trtbuild_batch.jobs.working import Watch
from trtbuild_batch.output.locking import only_one
from trtbuild_batch.output.parts import Layout
from trtbuild_batch.places import Place, place
from trtbuild_batch.refreshing import digests, memory
from trtbuild_batch.refreshing.applying import Applier
from trtbuild_batch.refreshing.digests import Known
from trtbuild_batch.refreshing.identity import differences, identify
from trtbuild_batch.refreshing.memory import Generation, Memory, Pending
from trtbuild_batch.refreshing.options import RefreshOptions
from trtbuild_batch.refreshing.planning import CHANGED, Counts, Planner, kept_schema, without_ours
from trtbuild_batch.sinks import Sink, SinkAddress, open_sink, parse
from trtbuild_batch.targets import parse as parse_target

ERRORS = "_errors.jsonl"
"""The first rows of the last refresh that have an error."""
_ERRORS_KEPT = 1000
PENDING, OUT = "pending", "out"
"""Where a plan is, and below it the output of the job that embeds."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh did.

    Attributes:
        rows: Of the input.
        unchanged: Rows that the sink had already.
        new: Rows with an id that the sink did not have.
        changed: Rows whose text or kept columns are different.
        removed: Ids that are no longer in the input.
        errors: Rows without a vector, or that cannot be read.
        resumed: Rows of an interrupted refresh that was finished first.
        generation: The generation of the sink that readers see; 0 for none.
        shown: Whether the result is shown to readers: a new collection with too many errors is not.
        why: The first few rows that cannot be read.
    """

    rows: int
    unchanged: int
    new: int
    changed: int
    removed: int
    errors: int
    resumed: int
    generation: int
    shown: bool = True
    why: list[str] = field(default_factory=list)


def refresh(
    options: RefreshOptions, progress: Progress, watch: Watch = lambda _: None
) -> Refreshed:
    """Give the sink a vector for every row of the input, and nothing else.

    Args:
        options: What is embedded, by which model, and where the vectors go.
        progress: Is told about each step.
        watch: Is given the state of the embedding once a second.

    Raises:
        UsageError: An option, the input or the directory cannot be used.
        ServerError: The target does not answer, or too many calls fail.
        BuildError: The database, the disk or the object store fails.
    """
    sink = parse(options.sink)
    source = open_source(options.inputs)
    address = parse_target(options.target, options.model)
    folder = place(options.out)
    task = preparing.task_of(source, options.task(), address)
    assert isinstance(task, Embed)
    layout = without_ours(preparing.layout_of(source, task, options.job()), options.keep)
    source = replace(source, read=task.columns | {layout.id} | set(layout.keep))
    generation = asyncio.run(identify(options, address, task, layout, progress))
    folder.make()
    scratch = preparing.scratch_of(folder)
    with only_one(scratch, str(folder)):
        known = memory.read(folder, str(sink))
        source.counted(layout.id, progress)  # refuses an id that is there twice
        work = _Refresh(
            options,
            source,
            task,
            layout,
            folder,
            scratch,
            sink,
            generation,
            known,
            progress,
            watch,
        )
        return work.run()


@dataclass(slots=True)
class _Refresh:
    options: RefreshOptions
    source: Source
    task: Embed
    layout: Layout
    folder: Place
    scratch: Path
    sink: SinkAddress
    made: Generation
    known: Memory
    progress: Progress
    watch: Watch

    def run(self) -> Refreshed:
        """Finish what was interrupted, and then do what the input asks for."""
        resumed, errors = self._resumed()
        if (pending := self.known.pending) and self._corrected(pending):
            self.progress.step("embedding all rows again: the input has changed")
            self._abandon(pending)
            resumed = errors = 0
        if pending := self.known.pending:  # too many rows have errors: not shown to readers
            counts = Counts(rows=pending.embed, new=pending.embed, unreadable=pending.unreadable)
        else:
            self._drop_stale()
            counts, planned = self._plan()
            errors = self._finish(planned) if planned else errors
        current = self.known.current
        return Refreshed(
            rows=counts.rows,
            unchanged=counts.unchanged,
            new=counts.new,
            changed=counts.changed,
            removed=counts.removed,
            errors=errors + counts.unreadable,
            resumed=resumed,
            generation=current.number if current else 0,
            shown=self.known.pending is None,
            why=counts.why,
        )

    def _resumed(self) -> tuple[int, int]:
        """Finish an interrupted refresh, or abandon it; return its rows and their errors."""
        pending = self.known.pending
        if pending is None:
            return 0, 0
        if not self.options.new and not differences(pending.generation, self.made):
            self.progress.step("finishing the interrupted refresh")
            return pending.embed, self._finish(pending, again=True)
        self._abandon(pending)
        return 0, 0

    def _abandon(self, pending: Pending) -> None:
        current, stale = self.known.current, self.known.stale
        if current is None or pending.generation.number != current.number:
            stale = (*stale, pending.generation.number)
        self._remember(pending=None, stale=stale)

    def _corrected(self, pending: Pending) -> bool:
        """Whether the input is no longer the one that was planned: its errors may be gone."""
        return list(pending.inputs) != self.source.fingerprint(self.progress)

    def _plan(self) -> tuple[Counts, Pending | None]:
        """Compare the input with what the sink holds; return None if there is nothing to do."""
        (self.folder / PENDING).remove_all()
        (self.folder / PENDING).make()
        base = self.known.current
        why = differences(base, self.made) if base else []
        if base and not why and not self.options.new:
            with self._opened() as sink:
                there = sink.holds(base.number)
            if not there:
                raise BuildError(
                    f"{self.known.sink} has lost its vectors, or was created again by others",
                    where=str(self.folder),
                    fix="restore them, or embed all rows again with --new",
                )
            generation, held = base, Known(self.folder / self.known.digests)
        else:
            if base:
                reason = "; ".join(why) or "--new"
                self.progress.step(f"embedding all rows into a new collection ({reason})")
            with self._opened() as sink:
                number = self.known.free_in(sink)
            generation, held = replace(self.made, number=number), Known()
        planner = Planner(
            self.source,
            self.task.column,
            self.layout,
            held,
            self.folder / PENDING,
            self.scratch,
            self.options.max_removed,
        )
        counts = planner.plan(self.progress)
        embed = counts.new + counts.changed
        if generation is base and not embed and not counts.removed:
            return counts, None
        inputs = () if generation is base else self.source.fingerprint(self.progress)
        pending = Pending(generation, embed, counts.removed, counts.unreadable, inputs)
        self._remember(pending=pending)
        return counts, pending

    def _finish(self, pending: Pending, *, again: bool = False) -> int:
        """Embed, apply, take note; return the rows that have an error.

        A new generation with more errors than are accepted is not shown to readers, and stays
        pending: ``again`` asks about the rows with errors once more.
        """
        folder = self.folder / PENDING
        kept = kept_schema(self.layout)
        applier = Applier(pending, folder, folder / OUT, self.scratch, kept)
        with self._opened() as sink:  # what is wrong with it is better known now
            applier.begin(sink)
        errors = self._embed(again=again) if pending.embed else 0
        current = self.known.current
        fresh = current is None or current.number != pending.generation.number
        accepted = self.options.allow_errors * (pending.embed + pending.unreadable)
        if fresh and errors + pending.unreadable > accepted:
            return errors
        commits = self.known.commits + 1
        name = f"_digests-{commits}.parquet"
        old = None if fresh else self.folder / self.known.digests
        with self._opened() as sink:  # a new one: a connection would not outlive hours of embedding
            applier.apply(sink, old, self.folder / name, self.progress)
        stale = self.known.stale
        if current and fresh:
            stale = (*stale, current.number)
        self._remember(
            current=pending.generation, digests=name, pending=None, commits=commits, stale=stale
        )
        self._drop_stale()
        folder.remove_all()
        for other in self.folder.names():
            if other.startswith("_digests-") and other != name:
                (self.folder / other).remove()
        return errors

    def _embed(self, *, again: bool) -> int:
        """Run the batch job of a plan; return how many of its rows have an error."""
        folder = self.folder / PENDING
        job = self.options.job(
            inputs=(str(folder / CHANGED),),
            out=str(folder / OUT),
            id=self.layout.id,
            keep=(*self.layout.keep, digests.COLUMN),
        )
        task = self.options.task()
        end = running.run(job, task, self.progress, self.watch)
        if end.errors and again:
            end = running.run(job, task, self.progress, self.watch, retries=True)
        failed = self.folder / ERRORS
        if not end.errors:
            failed.remove()
            return 0
        rows = islice(looking.failed_rows(job.out), _ERRORS_KEPT)
        lines = (json.dumps({"id": row.id, "kind": row.kind, "error": row.error}) for row in rows)
        failed.write("".join(f"{line}\n" for line in lines).encode())
        return end.errors

    def _drop_stale(self) -> None:
        if self.known.stale:
            with self._opened() as sink:
                for number in self.known.stale:
                    sink.drop(number)
            self._remember(stale=())

    def _opened(self) -> AbstractContextManager[Sink]:
        return open_sink(self.sink, self.scratch)

    def _remember(self, **changed: Any) -> None:
        self.known = replace(self.known, **changed)
        self.known.write(self.folder)

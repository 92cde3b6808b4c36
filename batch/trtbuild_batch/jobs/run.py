"""Run a job: every row of the input gets one row of the output."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

from trtbuild.progress import Progress
from trtbuild_batch.asking import Embed, Task
from trtbuild_batch.inputs import Source, open_source
from trtbuild_batch.jobs import preparing, probing
from trtbuild_batch.jobs.tally import Snapshot
from trtbuild_batch.jobs.working import Watch, Work
from trtbuild_batch.options import CommonOptions, RunOptions, TaskOptions
from trtbuild_batch.output import contents, record
from trtbuild_batch.output.locking import only_one
from trtbuild_batch.output.parts import Layout
from trtbuild_batch.output.record import Record
from trtbuild_batch.output.writer import Writer
from trtbuild_batch.places import Place, place
from trtbuild_batch.targets import Target, open_target, parse
from trtbuild_batch.targets.grouping import Grouped
from trtbuild_batch.targets.opening import Address


def run(
    options: RunOptions,
    task: TaskOptions,
    progress: Progress,
    watch: Watch = lambda _: None,
    *,
    retries: bool = False,
    client: Target | None = None,
) -> Snapshot:
    """Run a job, or go on with it, and return its end.

    Args:
        options: What is read, who is asked, where the answers go.
        task: What is asked.
        progress: Is told about each step.
        watch: Is given the state once a second.
        retries: Also ask again about the rows that have an error.
        client: Asks instead of one that is made for ``options.target``.

    Raises:
        UsageError: An option, the input or the output directory cannot be used.
        ServerError: The target does not answer, or too many calls fail.
        BuildError: The disk or the object store fails.
    """
    source = open_source(options.inputs)
    address = parse(options.target, options.model)
    options.share()
    folder = place(options.out)
    asked = preparing.task_of(source, task, address)
    layout = preparing.layout_of(source, asked, options)
    source = replace(source, read=asked.columns | {layout.id} | set(layout.keep))
    target = client or opened(options, address)
    if isinstance(asked, Embed) and options.texts_per_request > 1:
        target = Grouped(target, options.texts_per_request)
    job = _Job(
        options, source, address, target, asked, task, layout, folder, retries, progress, watch
    )
    return asyncio.run(job.run())


def opened(options: CommonOptions, address: Address) -> Target:
    """Return the client that the options describe; nothing is sent yet.

    Raises:
        UsageError: The variable with the API key is not set.
    """
    return open_target(
        address,
        timeout=options.timeout,
        api_key_env=options.api_key_env,
        connections=max(options.concurrency or 0, options.max_concurrency),
    )


@dataclass(slots=True)
class _Job:
    options: RunOptions
    source: Source
    address: Address
    target: Target
    task: Task
    given: TaskOptions
    layout: Layout
    folder: Place
    retries: bool
    progress: Progress
    watch: Watch

    async def run(self) -> Snapshot:
        try:
            self.progress.step(f"asking {self.address.url} for {self.address.model or 'models'}")
            identity = {"name": self.address.model, **await self.target.open()}
            made = preparing.describe(
                self.source,
                self.task,
                self.layout,
                self.options,
                identity=identity,
                known=None if self.options.new else record.read(self.folder),
                progress=self.progress,
            )
            self.folder.make()
            scratch = preparing.scratch_of(self.folder)
            with only_one(scratch, str(self.folder), shared=self.options.shared):
                job = await self._record(made, scratch)
                if not self.retries:
                    contents.remember(self.folder, preparing.memory(self.options, self.given))
                layout = replace(self.layout, dimension=job.dimension)
                writer = Writer(self.folder, scratch, job, layout, self.retries)
                work = Work(
                    self.options,
                    self.source,
                    self.address,
                    self.target,
                    self.task,
                    job,
                    writer,
                    self.progress,
                    self.watch,
                )
                return await work.run()
        finally:
            await self.target.close()

    async def _record(self, made: Record, scratch: Path) -> Record:
        """Return the job of the directory: the one that is there, or the new one, written."""
        old = preparing.require_usable(self.folder, scratch, self.options.new)
        if old is not None:
            record.require_same(old, made, self.folder)
            return old
        if isinstance(self.task, Embed):
            probe = await probing.vector(self.target, self.task, self.address)
            made = replace(made, dimension=len(probe) // 4)
        if not (self.folder / record.NAME).create(made.render()):
            return await self._record(made, scratch)  # another process was first
        return made

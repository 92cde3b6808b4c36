"""Collects the receipts of parts that are being computed, and publishes each when it is whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trtbuild.errors import UsageError
from trtbuild.files import disk_trouble
from trtbuild_batch.engine import Receipt
from trtbuild_batch.output import parts
from trtbuild_batch.output.journal import ENDINGS, Journal, sync_all
from trtbuild_batch.output.parts import Layout
from trtbuild_batch.output.record import Record
from trtbuild_batch.places import Place

STATE = "run the command again to resume: finished rows are kept"
_OPEN = 4  # parts: a straggler holds its own up, and not those after it


class PartTakenError(UsageError):
    """Another process of this machine works on the part."""


@dataclass(slots=True)
class Part:
    """A part that is being computed."""

    number: int
    rows: int
    journal: Journal
    kept: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    done: dict[int, Receipt] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every row has been read and has its receipt."""
        return len(self.done) == self.rows == len(self.kept)


@dataclass(slots=True)
class Writer:
    """Writes one output directory.

    Args:
        folder: The output directory.
        scratch: Where journals are: the directory itself, or one of this machine.
        record: The job.
        layout: The columns.
        retries: Rows with an error are tried again; their journals have another ending, so that
            what was left of the first run is not taken for it.
        after: Called in a thread with the number of each part that is published.
    """

    folder: Place
    scratch: Path
    record: Record
    layout: Layout
    retries: bool = False
    after: Callable[[int], None] = lambda _: None
    _open: dict[int, Part] = field(default_factory=dict)
    _publishing: set[asyncio.Task[None]] = field(default_factory=set)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(self, number: int) -> Part:
        """Begin a part, or go on with it. Waits while too many are open.

        Raises:
            PartTakenError: Another process works on it.
            BuildError: The disk.
        """
        while len(self._open) + len(self._publishing) >= _OPEN:
            await self._published_one()
        journal = Journal(self._journal_of(number), self.record.key)
        with disk_trouble(self.scratch, STATE):
            if not journal.open():
                raise PartTakenError(
                    f"another process works on part {number} of {self.folder}",
                    fix="divide the parts with --partition, or with --claim",
                )
        first, last = self.record.span(number)
        part = Part(number, last - first, journal)
        if self.retries:
            read = parts.read(self.folder / parts.name_of(number), self.layout)
            part.done.update((row, one) for row, one in read if not one.kind)
        part.done.update((row, one) for row, one in journal.known.items() if first <= row < last)
        journal.known.clear()
        self._open[number] = part
        return part

    def drop_journal(self, number: int) -> None:
        """Remove the journal of a part that was published just before its process was killed."""
        with disk_trouble(self.scratch, STATE):
            self._journal_of(number).unlink(missing_ok=True)

    def _journal_of(self, number: int) -> Path:
        return self.scratch / f".{parts.name_of(number)}{ENDINGS[self.retries]}"

    def see(self, part: Part, row: int, kept: tuple[Any, ...]) -> bool:
        """Take note of an input row; return whether it is still to be asked about."""
        part.kept[row] = kept
        if row not in part.done:
            return True
        self._publish_complete(part)
        return False

    def done(self, row: int, receipt: Receipt) -> None:
        """Keep the receipt of a row, in the journal first.

        Raises:
            BuildError: The disk.
        """
        part = self._open[row // self.record.part_rows]
        with disk_trouble(self.scratch, STATE):
            part.journal.append(row, receipt)
        part.done[row] = receipt
        self._publish_complete(part)

    def _publish_complete(self, part: Part) -> None:
        if part.complete and part.number in self._open:
            del self._open[part.number]
            task = asyncio.get_running_loop().create_task(self._publish(part))
            self._publishing.add(task)
            self._changed.set()

    async def _publish(self, part: Part) -> None:
        rows = [(row, part.kept[row], part.done[row]) for row in sorted(part.done)]
        where = self.folder / parts.name_of(part.number)
        try:
            await asyncio.to_thread(
                lambda: parts.publish(where, self.layout.table(rows), self.scratch)
            )
        except BaseException:
            part.journal.close()
            raise
        part.journal.discard()
        await asyncio.to_thread(self.after, part.number)

    async def _published_one(self) -> None:
        """Wait until a part is published, or is to be. Raises what went wrong."""
        if not self._publishing:
            self._changed.clear()
            await self._changed.wait()
            return
        done, _ = await asyncio.wait(self._publishing, return_when=asyncio.FIRST_COMPLETED)
        self._publishing -= done
        for error in [task.exception() for task in done]:  # each is looked at, or asyncio complains
            if error is not None:
                raise error

    async def finish(self) -> None:
        """Wait until all complete parts are published. Raises what went wrong."""
        while self._publishing:
            await self._published_one()

    async def sync(self) -> None:
        """Wait until the disk has every receipt. BuildError of the disk."""
        files = [part.journal.unsynced() for part in self._open.values()]
        with disk_trouble(self.scratch, STATE):
            await asyncio.to_thread(sync_all, [one for one in files if one >= 0])

    async def close(self) -> None:
        """Let publishing end, and close the journals of incomplete parts; what they hold stays."""
        await asyncio.gather(*self._publishing, return_exceptions=True)
        await self.sync()
        for part in self._open.values():
            part.journal.close()
        self._open.clear()

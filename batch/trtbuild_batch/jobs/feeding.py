"""The rows that are still to be asked about, with what to ask: the input of the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from trtbuild_batch.asking import Question, RowError, Task
from trtbuild_batch.engine import Kind, Receipt
from trtbuild_batch.inputs import Row, Source
from trtbuild_batch.output.record import Record
from trtbuild_batch.output.writer import Part, Writer


class Item(NamedTuple):
    """A row to ask about."""

    row: int
    question: Question


@dataclass(slots=True)
class Feeder:
    """Reads the input once, from the first part to the last.

    Args:
        source: The input.
        record: The job.
        task: Makes questions of rows.
        writer: Is told about every row.
        begin: Opens a part; None if it is not ours.
        done: Is given the receipt of a row that nothing can be asked about.
    """

    source: Source
    record: Record
    task: Task
    writer: Writer
    begin: Callable[[int], Awaitable[Part | None]]
    done: Callable[[int, Receipt], None]

    async def items(self, wanted: Sequence[int]) -> AsyncIterator[list[Item]]:
        """Yield the rows of the wanted parts that have no receipt yet."""
        numbers = set(wanted)
        size = self.record.part_rows
        part: Part | None = None
        current = -1
        batches = self.source.batches(
            self.record.starts,
            lambda first, last: any(n in numbers for n in range(first // size, -(-last // size))),
        )
        while (batch := await asyncio.to_thread(next, batches, None)) is not None:
            items: list[Item] = []
            for row in batch:
                if row.number // size != current:
                    if items:
                        yield items  # opening the next part may wait for them
                        items = []
                    current = row.number // size
                    part = await self.begin(current) if current in numbers else None
                if part is not None and (item := self._item(part, row)):
                    items.append(item)
            if items:
                yield items

    def _item(self, part: Part, row: Row) -> Item | None:
        if not self.writer.see(part, row.number, self.writer.layout.kept(row.values)):
            return None
        try:
            if row.problem:
                raise RowError(row.problem)
            return Item(row.number, self.task.question(row))
        except RowError as error:
            self.done(row.number, Receipt(None, 0, 0.0, str(error), str(Kind.INPUT)))
            return None

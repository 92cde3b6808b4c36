"""What has changed since the last refresh: the rows to embed, and the ids to remove."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trtbuild.errors import UsageError
from trtbuild.progress import Progress
from trtbuild_batch.inputs import Row, Source
from trtbuild_batch.output import parts
from trtbuild_batch.output.parts import Layout
from trtbuild_batch.places import Place
from trtbuild_batch.refreshing import digests
from trtbuild_batch.refreshing.digests import Known
from trtbuild_batch.sinks import VECTOR

CHANGED, REMOVED = "changed.parquet", "removed.parquet"
_SHOWN = 5


@dataclass(slots=True)
class Counts:
    """Rows of the input, by what is known about them.

    Attributes:
        unreadable: Rows without an id, or that cannot be read.
        why: Of the first few of them.
    """

    rows: int = 0
    unchanged: int = 0
    new: int = 0
    changed: int = 0
    removed: int = 0
    unreadable: int = 0
    why: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Planner:
    """Compares the input with what the sink holds.

    Args:
        source: The input.
        text: The column that is embedded.
        layout: Has the column of the ids, and those to store.
        known: What the sink holds; nothing for a new generation.
        folder: Where the two files of the plan go.
        scratch: A directory of this machine for temporary files.
        most_removed: Share of the known ids that may have vanished.
    """

    source: Source
    text: str
    layout: Layout
    known: Known
    folder: Place
    scratch: Path
    most_removed: float

    def plan(self, progress: Progress) -> Counts:
        """Write the rows to embed and the ids to remove.

        Raises:
            UsageError: Too many ids have vanished.
            BuildError: The disk or the object store.
        """
        progress.step("comparing the input with the last refresh")
        counts = Counts()
        with _table(self.folder / CHANGED, self.schema(), self.scratch) as write:
            for batch in self.source.batches():
                write(self._changed(batch, counts))
                progress.advance(counts.rows, 0, "rows")
        gone = self.known.vanished()
        if counts.unreadable or not gone:  # an id that cannot be read has not vanished
            return counts
        if gone > self.most_removed * len(self.known):
            raise UsageError(
                f"{gone} of {len(self.known)} ids have vanished from the input",
                fix="check that the input is complete; --max-removed 1 removes them from the sink",
            )
        counts.removed = gone
        schema = digests.schema().remove(1)
        with _table(self.folder / REMOVED, schema, self.scratch) as write:
            for ids in self.known.vanished_ids():
                write([ids])
        return counts

    def schema(self) -> Any:
        """Return the columns of the rows to embed."""
        import pyarrow as pa

        found = {self.layout.id: pa.string(), self.text: pa.string()}
        found |= {one.name: one.type for one in kept_schema(self.layout)}
        return pa.schema([*found.items(), (digests.COLUMN, digests.schema()[1].type)])

    def _changed(self, batch: list[Row], counts: Counts) -> list[Any]:
        """Return the columns of the rows that are to be embedded."""
        counts.rows += len(batch)
        usable = []
        for row in batch:
            if row.problem or row.values.get(self.layout.id) is None:
                counts.unreadable += 1
                if len(counts.why) < _SHOWN:
                    why = row.problem or f"the column {self.layout.id!r} has no value"
                    counts.why.append(f"row {row.number}: {why}")
            else:
                usable.append(row)
        ids, texts, kept = self._values(usable)
        made = [digests.digest(values) for values in zip(texts, *kept, strict=True)]
        known, same = self.known.compare(ids, made)
        counts.unchanged += int(same.sum())
        counts.changed += int((known & ~same).sum())
        counts.new += int((~known).sum())
        wanted = [at for at in range(len(usable)) if not same[at]]
        columns = {self.layout.id: ids, self.text: texts}
        columns |= dict(zip(self.layout.keep, kept, strict=True))
        columns[digests.COLUMN] = made
        return [[columns[name][at] for at in wanted] for name in columns]

    def _values(self, rows: list[Row]) -> tuple[list[str], list[Any], list[Any]]:
        """Return the ids, the texts (None for what is not text) and the kept columns."""
        import pyarrow as pa

        text = pa.string()
        ids = list(parts.cast([row.values[self.layout.id] for row in rows], text))
        found = (row.values.get(self.text) for row in rows)
        texts = list(parts.cast([one if isinstance(one, str) else None for one in found], text))
        kept = [
            texts
            if name == self.text
            else list(parts.cast([row.values.get(name) for row in rows], kind or text))
            for name, kind in self.layout.keep.items()
        ]
        return ids, texts, kept


def without_ours(layout: Layout, asked: Sequence[str]) -> Layout:
    """Return the layout without kept columns that have a name of ours.

    Raises:
        UsageError: One of them was ``asked`` for by its name.
    """
    ours = [name for name in (VECTOR, digests.COLUMN) if name in layout.keep]
    if ours and "*" not in asked:
        raise UsageError(
            f"the column {ours[0]!r} has the name of a column of the sink",
            where="--keep",
            fix="rename it in the input, or leave it out",
        )
    return replace(layout, keep={k: v for k, v in layout.keep.items() if k not in ours})


def kept_schema(layout: Layout) -> Any:
    """Return the stored columns of the input."""
    import pyarrow as pa

    return pa.schema([(name, kind or pa.string()) for name, kind in layout.keep.items()])


@contextlib.contextmanager
def _table(where: Place, schema: Any, scratch: Path) -> Iterator[Any]:
    """Yield a function that adds rows, given as columns, to a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with where.replaced(scratch) as path, pq.ParquetWriter(path, schema) as writer:

        def write(columns: list[Any]) -> None:
            if columns[0]:
                arrays = [
                    pa.array(one, kind) for one, kind in zip(columns, schema.types, strict=True)
                ]
                writer.write_batch(pa.record_batch(arrays, schema=schema))

        yield write

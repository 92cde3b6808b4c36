"""Putting what was embedded into the sink, and taking note of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtbuild.progress import Progress
from trtbuild_batch.output import contents, parts
from trtbuild_batch.places import Place
from trtbuild_batch.refreshing import digests
from trtbuild_batch.refreshing.memory import Pending
from trtbuild_batch.refreshing.planning import REMOVED
from trtbuild_batch.sinks import VECTOR, Sink
from trtbuild_batch.sinks.ids import hashes

if TYPE_CHECKING:
    from pyarrow import Schema, Table


@dataclass(frozen=True, slots=True)
class Applier:
    """Applies a plan whose rows are embedded.

    Args:
        pending: The plan.
        folder: The directory with its files.
        out: The output directory of the job that embedded.
        scratch: A directory of this machine for temporary files.
        kept: The stored columns, with their types.
    """

    pending: Pending
    folder: Place
    out: Place
    scratch: Path
    kept: Schema

    def begin(self, sink: Sink) -> None:
        """Make the generation in the sink. BuildError if it cannot be."""
        sink.begin(self.pending.generation.number, self._schema())

    def apply(self, sink: Sink, old: Place | None, new: Place, progress: Progress) -> None:
        """Change the sink, show the result to readers, and write the new digests.

        Args:
            sink: The sink.
            old: The digests of what the generation held; None for a new one.
            new: The file for those of what it holds then.
            progress: Is told how far it is.

        Raises:
            BuildError: The database, the disk or the object store.
        """
        import pyarrow.parquet as pq

        progress.step("writing the vectors")
        self.begin(sink)
        with (
            new.replaced(self.scratch) as path,
            pq.ParquetWriter(path, digests.schema()) as writer,
        ):
            gone = []
            done = 0
            for table in self._embedded():
                sink.upsert(self._rows(table))
                known = table.select(["id", digests.COLUMN])
                gone.append(hashes(known["id"].to_pylist()))
                writer.write_table(known.cast(digests.schema()))
                done += table.num_rows
                progress.advance(done, self.pending.embed, "rows")
            for ids in self._removed():
                sink.delete(ids)
                gone.append(hashes(ids))
            progress.step("showing them to readers")
            sink.publish()
            for batch in _without(old, gone):
                writer.write_batch(batch)

    def _schema(self) -> Any:
        import pyarrow as pa

        vector = pa.list_(pa.float32(), self.pending.generation.dimension)
        return pa.schema([("id", pa.string()), *self.kept, (VECTOR, vector)])

    def _embedded(self) -> Iterator[Table]:
        """Yield the rows that have a vector, a part at a time."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        for number in contents.published(self.out) if self.pending.embed else ():
            where = self.out / parts.name_of(number)
            try:
                with where.opened() as stream:
                    table = pq.read_table(stream)
            except (OSError, ValueError) as error:
                raise parts.damaged(where, error) from None
            table = table.filter(pc.is_null(table["error"]))
            if table.num_rows:
                yield table

    def _rows(self, table: Table) -> Table:
        schema = self._schema()
        names = ["id", *self.kept.names, "output"]
        return table.select(names).rename_columns(schema.names).cast(schema)

    def _removed(self) -> Iterator[list[str]]:
        if self.pending.remove:
            for batch in digests.batches(self.folder / REMOVED):
                yield batch["id"].to_pylist()


def _without(old: Place | None, gone: list[Any]) -> Iterator[Any]:
    """Yield the former digests of the ids that are not ``gone``."""
    import numpy as np
    import pyarrow as pa

    if old is None:
        return
    left_out = np.unique(np.concatenate(gone)) if gone else ()
    for batch in digests.batches(old):
        stays = np.isin(hashes(batch["id"].to_pylist()), left_out, invert=True)
        yield batch.filter(pa.array(stays))

"""A Parquet file, replaced as a whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtbuild.errors import BuildError
from trtbuild.files import disk_trouble
from trtbuild_batch.places import Place
from trtbuild_batch.sinks.ids import hashes

if TYPE_CHECKING:
    from pyarrow import Schema, Table

_GENERATION = b"trtbuild.generation"


class ParquetSink:
    """Collects what changes beside the file, and then writes a new file from both.

    Args:
        where: The file.
        scratch: A directory of this machine for what is collected.
    """

    def __init__(self, where: Place, scratch: Path) -> None:
        self._where = where
        self._scratch = scratch
        self._added = scratch / f".{where.name}.added"
        self._writer: Any = None
        self._gone: list[Any] = []
        self._schema: Schema = None

    def holds(self, generation: int) -> bool:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        return self._generation_there() == str(generation).encode()

    def _generation_there(self) -> bytes | None:
        """Return the generation that the file has; empty if it is another's, None without one."""
        import pyarrow.parquet as pq

        if not self._where.exists:
            return None
        with self._trouble(OSError), self._where.opened() as stream:
            metadata = pq.read_schema(stream).metadata or {}
            found: bytes = metadata.get(_GENERATION, b"")
            return found

    def begin(self, generation: int, schema: Schema) -> None:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        import pyarrow.parquet as pq

        self.close()
        if local := self._where.local:
            with disk_trouble(local.parent):
                local.parent.mkdir(parents=True, exist_ok=True)
            if local.is_dir():
                raise BuildError(f"{local} is a directory", fix="name a file with --sink")
        if self._generation_there() == b"":
            raise BuildError(
                f"{self._where} is a file that trtbuild did not make",
                fix="name another file with --sink, or remove it",
            )
        self._generation = generation
        self._schema = schema.with_metadata({_GENERATION: str(generation)})
        with disk_trouble(self._scratch):
            self._writer = pq.ParquetWriter(self._added, self._schema, compression="zstd")

    def upsert(self, rows: Table) -> None:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        self.delete(rows["id"].to_pylist())
        with disk_trouble(self._scratch):
            self._writer.write_table(rows.cast(self._schema))

    def delete(self, ids: Sequence[str]) -> None:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        self._gone.append(hashes(ids))

    def publish(self) -> None:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        import pyarrow.parquet as pq

        with disk_trouble(self._scratch):
            self._writer.close()
        old = self.holds(self._generation)
        with (
            self._where.replaced(self._scratch) as path,
            self._trouble(),
            pq.ParquetWriter(path, self._schema, compression="zstd") as writer,
            pq.ParquetFile(self._added) as added,
        ):
            for batch in chain(self._kept() if old else (), added.iter_batches()):
                writer.write_batch(batch)

    def _kept(self) -> Iterator[Any]:
        """Yield what the file has, without the rows that were replaced or removed."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        gone = np.unique(np.concatenate(self._gone)) if self._gone else ()
        with (
            self._trouble(OSError),
            self._where.opened() as stream,
            pq.ParquetFile(stream) as file,
        ):
            for batch in file.iter_batches():
                stays = np.isin(hashes(batch["id"].to_pylist()), gone, invert=True)
                yield batch.filter(pa.array(stays))

    def drop(self, generation: int) -> None:
        """A file has one generation only."""

    def close(self) -> None:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
        self._added.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _trouble(self, *more: type[Exception]) -> Iterator[None]:
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowException, ValueError, *more) as error:
            raise BuildError(
                f"{self._where} cannot be read: {error}",
                fix="name another file with --sink, or remove it and write it again with --new",
            ) from None

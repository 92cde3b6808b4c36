"""LanceDB: a table, whose next generation is written beside it first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import lancedb

from trtbuild.errors import BuildError
from trtbuild_batch.sinks.model import SinkAddress

if TYPE_CHECKING:
    from pyarrow import Schema, Table

_GENERATION = b"trtbuild.generation"
_ROWS = 10_000


class LanceSink:
    """The table ``NAME`` has the current generation; ``NAME_v3`` is generation 3 until readers see
    it."""

    def __init__(self, address: SinkAddress) -> None:
        self._address = address
        with self._trouble():
            self._db: Any = lancedb.connect(address.where)
        self._table: Any = None

    def holds(self, generation: int) -> bool:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        return self._shown(generation) or self._open(self._staged(generation)) is not None

    def _shown(self, generation: int) -> bool:
        table = self._open(self._address.name)
        if table is None:
            return False
        metadata = table.schema.metadata or {}
        return bool(metadata.get(_GENERATION) == str(generation).encode())

    def _open(self, name: str) -> Any:
        """Return a table; None if it is not there."""
        with self._trouble():
            try:
                return self._db.open_table(name)
            except (FileNotFoundError, ValueError) as error:
                if "not found" in str(error).lower():
                    return None
                raise

    def _staged(self, generation: int) -> str:
        return f"{self._address.name}_v{generation}"

    def begin(self, generation: int, schema: Schema) -> None:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        self._generation = generation
        self._schema = schema.with_metadata({_GENERATION: str(generation)})
        self._in_place = self._shown(generation)
        name = self._address.name if self._in_place else self._staged(generation)
        with self._trouble():
            if not self._in_place:
                self._require_ours()
            self._table = self._open(name)
            if self._table is None:  # one without rows is false
                self._table = self._db.create_table(name, schema=self._schema)

    def _require_ours(self) -> None:
        table = self._open(self._address.name)
        if table is not None and _GENERATION not in (table.schema.metadata or {}):
            raise BuildError(
                f"{self._address} is a table that trtbuild did not make",
                fix="give --sink another name",
            )

    def upsert(self, rows: Table) -> None:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        with self._trouble():
            merge = self._table.merge_insert("id").when_matched_update_all()
            merge.when_not_matched_insert_all().execute(rows.cast(self._schema))

    def delete(self, ids: Sequence[str]) -> None:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        for at in range(0, len(ids), _ROWS):
            quoted = ", ".join("'" + one.replace("'", "''") + "'" for one in ids[at : at + _ROWS])
            with self._trouble():
                self._table.delete(f"id IN ({quoted})")

    def publish(self) -> None:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        with self._trouble():
            if not self._in_place:
                reader = self._table.search().to_batches(_ROWS)
                self._table = self._db.create_table(
                    self._address.name,
                    data=reader,
                    schema=self._schema,
                    mode="create" if self._open(self._address.name) is None else "overwrite",
                )
            self._table.optimize()
            self._drop(self._staged(self._generation))

    def _drop(self, name: str) -> None:
        if self._open(name) is not None:
            self._db.drop_table(name)

    def drop(self, generation: int) -> None:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        with self._trouble():
            self._drop(self._staged(generation))

    def close(self) -> None:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, ValueError, OSError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise BuildError(
                f"{self._address} failed: {reason}",
                fix="check the directory and the disk; run the command again to resume",
            ) from None

"""PostgreSQL with pgvector: a table for each generation, and a view that readers use."""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from trtbuild.errors import BuildError
from trtbuild_batch.sinks.model import VECTOR, SinkAddress
from trtbuild_batch.sinks.payload import payload

if TYPE_CHECKING:
    from pyarrow import Schema, Table

_INDEXED = 2000  # dimensions that an HNSW index of pgvector has at most
_ROWS = 10_000


class PostgresSink:
    """The table ``NAME_v3`` has generation 3, and ``NAME`` is a view of the current one.

    Columns are ``id``, ``metadata`` with the kept columns as JSON, and ``vector``, which has an
    HNSW index for the cosine distance if it has at most 2000 dimensions. The password is where
    libpq looks for it.
    """

    def __init__(self, address: SinkAddress) -> None:
        self._address = address
        with self._trouble():
            self._db = psycopg.connect(address.where, autocommit=True)

    def holds(self, generation: int) -> bool:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        return self._kind(self._named(generation)) == "r"

    def _kind(self, name: str) -> str:
        """Return ``r`` for a table, ``v`` for a view, an empty text for neither."""
        with self._trouble():
            found = self._db.execute(
                "SELECT relkind FROM pg_class WHERE oid = to_regclass(quote_ident(%s))", [name]
            ).fetchone()
        if found is None:
            return ""
        return found[0].decode() if isinstance(found[0], bytes) else str(found[0])

    def begin(self, generation: int, schema: Schema) -> None:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        self._current = self._named(generation)
        self._dimension = schema.field(VECTOR).type.list_size
        if self._kind(self._address.name) == "r":
            raise BuildError(
                f"{self._address} is a table that trtbuild did not make",
                fix="give --sink another name: it becomes a view of the current table",
            )
        with self._trouble():
            self._db.execute("CREATE EXTENSION IF NOT EXISTS vector")
            self._run(
                "CREATE TABLE IF NOT EXISTS {table} "
                "(id text PRIMARY KEY, metadata jsonb NOT NULL, vector vector({size}) NOT NULL)"
            )

    def upsert(self, rows: Table) -> None:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        with self._trouble(), self._db.transaction():
            self._run("CREATE TEMP TABLE trtbuild_rows (LIKE {table}) ON COMMIT DROP")
            copy = "COPY trtbuild_rows (id, metadata, vector) FROM STDIN (FORMAT BINARY)"
            with self._db.cursor().copy(copy) as stream:
                for row in _binary(rows):
                    stream.write_row(row)
            self._run(
                "INSERT INTO {table} SELECT * FROM trtbuild_rows ON CONFLICT (id) DO UPDATE "
                "SET metadata = excluded.metadata, vector = excluded.vector"
            )

    def delete(self, ids: Sequence[str]) -> None:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        for at in range(0, len(ids), _ROWS):
            with self._trouble():
                statement = sql.SQL("DELETE FROM {} WHERE id = ANY(%s)")
                self._db.execute(
                    statement.format(sql.Identifier(self._current)), [list(ids[at : at + _ROWS])]
                )

    def publish(self) -> None:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        with self._trouble():
            if self._dimension <= _INDEXED:
                self._run(
                    "CREATE INDEX IF NOT EXISTS {index} ON {table} "
                    "USING hnsw (vector vector_cosine_ops)"
                )
            # Without its dimension the column has one type in all generations, so that the view is
            # replaced, and keeps its grants.
            self._run(
                "CREATE OR REPLACE VIEW {view} AS "
                "SELECT id, metadata, vector::vector AS vector FROM {table}"
            )

    def drop(self, generation: int) -> None:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        with self._trouble():
            statement = sql.SQL("DROP TABLE IF EXISTS {}")
            self._db.execute(statement.format(sql.Identifier(self._named(generation))))

    def close(self) -> None:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        self._db.close()

    def _named(self, generation: int) -> str:
        return f"{self._address.name}_v{generation}"

    def _run(self, statement: str) -> None:
        self._db.execute(
            sql.SQL(statement).format(
                table=sql.Identifier(self._current),
                view=sql.Identifier(self._address.name),
                index=sql.Identifier(f"{self._current}_vector"),
                size=sql.Literal(self._dimension),
            )
        )

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            reason = str(error).strip().partition("\n")[0]
            raise BuildError(
                f"{self._address} failed: {reason}",
                fix="check that the database runs and has the extension pgvector, and PGPASSWORD; "
                "run the command again to resume",
            ) from None


def _binary(rows: Table) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield rows as PostgreSQL's binary COPY takes them: text, jsonb (version 1) and pgvector's
    ``vector`` (16-bit dimension, 16 unused bits, big-endian float32)."""
    for batch in rows.to_batches():
        vectors = batch[VECTOR]
        numbers = vectors.flatten().to_numpy().astype(">f4").reshape(len(vectors), -1)
        head = struct.pack(">HH", numbers.shape[1], 0)
        for row, vector in zip(batch.drop_columns([VECTOR]).to_pylist(), numbers, strict=True):
            name = row.pop("id")
            kept = json.dumps(payload(row, _text))
            yield _text(name).encode(), b"\x01" + kept.encode(), head + vector.tobytes()


def _text(value: str) -> str:
    """Return a text; PostgreSQL has no NUL in one."""
    return value.replace("\0", "\ufffd")

"""Qdrant: a collection for each generation, and an alias that readers use."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from qdrant_client import QdrantClient, models

from trtbuild.errors import BuildError
from trtbuild_batch.sinks.model import VECTOR, SinkAddress
from trtbuild_batch.sinks.payload import payload

if TYPE_CHECKING:
    from pyarrow import Schema, Table

_IDS = uuid.UUID("8f6b1c52-52a3-4b0e-9d1f-6f2f3c9b7a10")
"""Namespace of the points' ids: a point's id is a number or a UUID, and ours are texts."""
_ROWS = 500  # in a request
_BYTES = 16 << 20
"""Of a request: a server takes 32 MiB (max_request_size_mb)."""
_NUMBER_BYTES = 24  # a float32 is written as a float64
_SECONDS = 60  # of a request, which returns when the points are stored; the client's default is 5


class QdrantSink:
    """The collection ``NAME_v3`` has generation 3, and ``NAME`` is an alias for the current one.

    Vectors are compared by cosine. A point's payload has ``id`` and the kept columns.
    """

    def __init__(self, address: SinkAddress) -> None:
        self._address = address
        remote = "://" in address.where
        with self._trouble():
            self._client = QdrantClient(
                url=address.where if remote else None,
                path=None if remote else address.where,
                api_key=os.environ.get("QDRANT_API_KEY") if remote else None,
                timeout=_SECONDS,
                check_compatibility=False,  # it would warn about a server that does not answer
            )

    def holds(self, generation: int) -> bool:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        with self._trouble():
            return bool(self._client.collection_exists(self._named(generation)))

    def begin(self, generation: int, schema: Schema) -> None:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        self._current = self._named(generation)
        if self.holds(generation):
            return
        size = schema.field(VECTOR).type.list_size
        with self._trouble():
            if self._taken():
                raise BuildError(
                    f"{self._address} is a collection that trtbuild did not make",
                    fix="give --sink another name: it becomes an alias of the current collection",
                )
            self._client.create_collection(
                self._current,
                vectors_config=models.VectorParams(size=size, distance=models.Distance.COSINE),
            )

    def _taken(self) -> bool:
        """Whether a collection has the name of the alias."""
        names = [one.name for one in self._client.get_collections().collections]
        return self._address.name in names

    def upsert(self, rows: Table) -> None:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        for points in _requests(rows):
            with self._trouble():
                self._client.upsert(self._current, points=points, wait=True)

    def delete(self, ids: Sequence[str]) -> None:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        for at in range(0, len(ids), _ROWS):
            points: list[Any] = [_point(one) for one in ids[at : at + _ROWS]]
            with self._trouble():
                chosen = models.PointIdsList(points=points)
                self._client.delete(self._current, points_selector=chosen, wait=True)

    def publish(self) -> None:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        made = models.CreateAlias(collection_name=self._current, alias_name=self._address.name)
        with self._trouble():  # replaces the alias of this name in one step
            self._client.update_collection_aliases([models.CreateAliasOperation(create_alias=made)])

    def drop(self, generation: int) -> None:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        with self._trouble():
            self._client.delete_collection(self._named(generation))

    def close(self) -> None:
        """See :class:`~trtbuild_batch.sinks.model.Sink`."""
        self._client.close()

    def _named(self, generation: int) -> str:
        return f"{self._address.name}_v{generation}"

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        from qdrant_client.http.exceptions import ApiException

        try:
            yield
        except (ApiException, RuntimeError, ValueError, OSError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise BuildError(
                f"{self._address} failed: {reason}",
                fix="check that the database runs, and QDRANT_API_KEY; run the command again to "
                "resume",
            ) from None


def _point(name: str) -> str:
    return str(uuid.uuid5(_IDS, name))


def _requests(rows: Table) -> Iterator[list[models.PointStruct]]:
    """Yield the rows as points, as many at a time as a request may have."""
    points: list[models.PointStruct] = []
    size = 0
    for batch in rows.to_batches(max_chunksize=_ROWS):
        vectors = batch[VECTOR].to_pylist()
        for row, vector in zip(batch.drop_columns([VECTOR]).to_pylist(), vectors, strict=True):
            kept = payload(row)
            more = _NUMBER_BYTES * len(vector) + len(json.dumps(kept))
            if points and (size + more > _BYTES or len(points) == _ROWS):
                yield points
                points, size = [], 0
            points.append(models.PointStruct(id=_point(row["id"]), vector=vector, payload=kept))
            size += more
    if points:
        yield points

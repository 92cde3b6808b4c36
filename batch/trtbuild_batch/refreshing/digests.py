"""The digest of every id, so that the database is never asked what it has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from trtbuild.errors import BuildError
from trtbuild_batch.places import Place
from trtbuild_batch.sinks.ids import hashes

COLUMN = "trtbuild_digest"
"""Of the file with the rows to embed, and of the parts that are made from it."""
_BYTES = 32  # of SHA-256


def schema() -> Any:
    """The schema of the file."""
    import pyarrow as pa

    return pa.schema([("id", pa.string()), (COLUMN, pa.binary(_BYTES))])


def digest(values: Sequence[Any]) -> bytes:
    """Return the SHA-256 of a row's text and its kept values."""
    return hashlib.sha256(json.dumps(values, default=str).encode()).digest()


def batches(where: Place) -> Iterator[Any]:
    """Yield the file's rows as record batches.

    Raises:
        BuildError: It cannot be read.
    """
    import pyarrow.parquet as pq

    try:
        with where.opened() as stream, pq.ParquetFile(stream) as file:
            yield from file.iter_batches()
    except (OSError, ValueError) as error:
        raise _unreadable(where, error) from None


def count(where: Place) -> int:
    """Return how many ids the file has. BuildError if it cannot be read."""
    import pyarrow.parquet as pq

    try:
        with where.opened() as stream, pq.ParquetFile(stream) as file:
            return int(file.metadata.num_rows)
    except (OSError, ValueError) as error:
        raise _unreadable(where, error) from None


def _unreadable(where: Place, error: Exception) -> BuildError:
    return BuildError(
        f"{where} cannot be read: {error}",
        fix="restore it, or embed all rows again with --new",
    )


@dataclass(slots=True)
class Known:
    """What the sink holds. An id takes 48 bytes of memory.

    Two ids of one hash would be told apart wrongly; see
    :func:`~trtbuild_batch.sinks.ids.hashes` for how rare that is.
    """

    where: Place | None = None
    _hashes: Any = field(init=False)
    _digests: Any = field(init=False)
    _seen: Any = field(init=False)

    def __post_init__(self) -> None:
        import numpy as np

        names = [np.zeros(0, "<u8")]
        values = [np.zeros((0, _BYTES), "u1")]
        for batch in batches(self.where) if self.where else ():
            names.append(hashes(batch["id"].to_pylist()))
            values.append(_matrix(batch[COLUMN].to_pylist()))
        self._hashes, self._digests = np.concatenate(names), np.concatenate(values)
        order = np.argsort(self._hashes, kind="stable")
        self._hashes, self._digests = self._hashes[order], self._digests[order]
        self._seen = np.zeros(len(order), bool)

    def __len__(self) -> int:
        return len(self._hashes)

    def compare(self, ids: Sequence[str], digests: Sequence[bytes]) -> tuple[Any, Any]:
        """Return which of these ids are known, and which have the same digest, as two arrays of
        booleans; take note that they are still there."""
        import numpy as np

        if not len(self):
            return np.zeros(len(ids), bool), np.zeros(len(ids), bool)
        asked = hashes(ids)
        at = np.minimum(np.searchsorted(self._hashes, asked), len(self) - 1)
        known = self._hashes[at] == asked
        self._seen[at[known]] = True
        return known, known & (self._digests[at] == _matrix(digests)).all(axis=1)

    def vanished(self) -> int:
        """Return how many ids have not been compared."""
        return len(self) - int(self._seen.sum())

    def vanished_ids(self) -> Iterator[list[str]]:
        """Yield the ids that have not been compared."""
        import numpy as np

        gone = self._hashes[~self._seen]
        for batch in batches(self.where) if self.where else ():
            ids = batch["id"].to_pylist()
            yield [ids[at] for at in np.flatnonzero(np.isin(hashes(ids), gone))]


def _matrix(digests: Sequence[bytes]) -> Any:
    import numpy as np

    return np.frombuffer(b"".join(digests), "u1").reshape(-1, _BYTES)

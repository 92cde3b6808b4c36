"""All rows of the input, over all its files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

from trtbuild.errors import UsageError
from trtbuild.files import digest_all
from trtbuild.progress import SILENT, Progress
from trtbuild_batch.inputs import reading
from trtbuild_batch.inputs.finding import find_files
from trtbuild_batch.inputs.model import InputFile, Needed, Row

_LOOKED_AT = 1000  # first rows that tell which columns JSON Lines have
OPENAI = ("custom_id", "method", "url", "body")


@dataclass(frozen=True, slots=True)
class Source:
    """The input.

    Attributes:
        files: In order.
        columns: Names; the value is Arrow's type for Parquet, None for text formats.
        openai: The rows are lines of an OpenAI batch file.
        read: The columns that are needed; Parquet's others are not read. None: all.
    """

    files: Sequence[InputFile]
    columns: Mapping[str, Any] = field(default_factory=dict)
    openai: bool = False
    read: frozenset[str] | None = None

    def batches(
        self, starts: Sequence[int] = (), needed: Needed | None = None
    ) -> Iterator[list[Row]]:
        """Yield all rows in order, or the ``needed`` ones and some around them.

        ``starts`` has the number of each file's first row, from :meth:`counted`.
        """
        at = 0
        for number, file in enumerate(self.files):
            if needed is not None:
                at = starts[number]
                if not needed(at, starts[number + 1]):
                    continue
            for batch in self._reader(file)(file, at, needed or _everything):
                yield batch
                at = batch[-1].number + 1

    def _reader(self, file: InputFile) -> reading.Reader:
        if file.format != "parquet" or self.read is None:
            return reading.READERS[file.format]
        columns = [name for name in self.columns if name in self.read]
        return partial(reading.parquet, columns=columns)

    def counted(self, id_column: str = "", progress: Progress = SILENT) -> list[int]:
        """Return the number of each file's first row, and of all rows.

        With ``id_column`` every row is read, because ids must differ.

        Raises:
            UsageError: No row, or two rows of one id.
        """
        if self.files[0].format == "parquet" and not id_column:
            sizes = [reading.parquet_rows(file) for file in self.files]
        else:
            sizes = self._read_through(id_column, progress)
        starts = [sum(sizes[:end]) for end in range(len(sizes) + 1)]
        if not starts[-1]:
            raise UsageError(
                "the input has no rows", where=str(self.files[0].place), fix="name another file"
            )
        return starts

    def _read_through(self, id_column: str, progress: Progress) -> list[int]:
        progress.step("checking the input")
        seen = _Ids(id_column)
        sizes, first = [], 0
        for file in self.files:
            at = first
            for batch in self._reader(file)(file, at, lambda *_: bool(id_column)):
                at = batch[-1].number + 1
                if id_column:
                    seen.add(batch)
                progress.advance(at, 0, "rows")
            sizes.append(at - first)
            first = at
        seen.require_unique(self)
        return sizes

    def fingerprint(self, progress: Progress = SILENT) -> list[dict[str, Any]]:
        """Return what identifies the files' content: of local ones the SHA-256, of others size and
        time, which object stores keep for each version."""
        local = {str(at): file.place.local for at, file in enumerate(self.files)}
        try:
            digests = digest_all({at: path for at, path in local.items() if path}, progress)
        except OSError as error:
            raise UsageError(f"the input cannot be read: {error}", fix="check the file") from None
        return [
            {"name": file.place.name, "bytes": file.bytes}
            | ({"sha256": digests[str(at)]} if str(at) in digests else {"modified": file.modified})
            for at, file in enumerate(self.files)
        ]


def _everything(_first: int, _last: int) -> bool:
    return True


class _Ids:
    """Finds ids that are there twice, with eight bytes for each row."""

    def __init__(self, column: str) -> None:
        from array import array

        self._column = column
        self._hashes = array("Q")

    def add(self, batch: list[Row]) -> None:
        for row in batch:
            if row.values.get(self._column) is not None:
                text = str(row.values[self._column]).encode("utf-8", "surrogatepass")
                self._hashes.append(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()))

    def require_unique(self, source: Source) -> None:
        import numpy as np

        values = np.frombuffer(self._hashes, dtype=np.uint64) if self._hashes else np.zeros(0)
        found, counts = np.unique(values, return_counts=True)
        double = {int(one) for one in found[counts > 1]}
        if not double:
            return
        first: dict[str, int] = {}
        for row in (row for batch in source.batches() for row in batch):
            if row.values.get(self._column) is None:
                continue
            name = str(row.values[self._column])
            if name in first:
                raise UsageError(
                    f"the id {name!r} is there twice",
                    where=f"rows {first[name]} and {row.number}, column {self._column!r}",
                    fix="make the ids differ, or leave --id out: every row has its number",
                )
            hashed = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8)
            if int.from_bytes(hashed.digest()) in double:
                first[name] = row.number


def open_source(texts: Sequence[str]) -> Source:
    """Return the input that paths, directories and patterns name.

    Raises:
        UsageError: It cannot be read, its files have different columns, or no row can be used.
    """
    files = find_files(texts)
    first = files[0]
    if first.format == "parquet":
        columns = reading.schema(first)
        for file in files[1:]:
            if reading.schema(file) != columns:
                _differ(first, file)
        return Source(files, columns)
    if first.format in ("csv", "tsv"):
        header = reading.csv_header(first)
        for file in files[1:]:
            if reading.csv_header(file) != header:
                _differ(first, file)
        if len(set(header)) < len(header):
            raise UsageError(
                f"two columns of {first.place} have one name",
                fix="give each column a different name in the first line",
            )
        return Source(files, dict.fromkeys(header))
    return _json_source(files)


def _json_source(files: Sequence[InputFile]) -> Source:
    found = Source(files)
    rows = list(islice((row for batch in found.batches() for row in batch), _LOOKED_AT))
    good = [row for row in rows if not row.problem]
    if rows and not good:
        raise UsageError(
            f"none of the first {len(rows)} lines is a JSON object: {rows[0].problem}",
            where=f"{files[0].place}:1",
            fix='write a JSON object on each line, such as {"text": "…"}',
        )
    columns = dict.fromkeys(name for row in good for name in row.values)
    return Source(files, columns, openai=bool(good) and set(OPENAI) <= set(good[0].values))


def _differ(first: InputFile, other: InputFile) -> None:
    raise UsageError(
        f"{other.place} has other columns than {first.place}",
        fix="run the command for files of the same columns",
    )

"""Readers of one file each: they yield batches of rows, numbered from ``first``."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, NoReturn

from trtbuild.errors import UsageError
from trtbuild_batch.inputs.model import InputFile, Needed, Row

BATCH = 1024


Reader = Callable[[InputFile, int, Needed], Iterator[list[Row]]]
"""Reads a file whose first row has the given number."""


def parquet(
    file: InputFile, first: int, needed: Needed, columns: Sequence[str] | None = None
) -> Iterator[list[Row]]:
    """Read only the row groups with a needed row."""
    import pyarrow.parquet as pq

    try:
        with file.place.opened() as stream, pq.ParquetFile(stream, pre_buffer=False) as table:
            for group in range(table.num_row_groups):
                size = table.metadata.row_group(group).num_rows
                if needed(first, first + size):
                    at = first
                    for batch in table.iter_batches(BATCH, row_groups=[group], columns=columns):
                        yield [Row(at + i, row) for i, row in enumerate(batch.to_pylist())]
                        at += batch.num_rows
                first += size
    except (OSError, ValueError) as error:
        _broken(file, error)


def parquet_rows(file: InputFile) -> int:
    """Rows of a Parquet file, from its footer."""
    import pyarrow.parquet as pq

    try:
        with file.place.opened() as stream, pq.ParquetFile(stream) as table:
            return int(table.metadata.num_rows)
    except (OSError, ValueError) as error:
        _broken(file, error)


def jsonl(file: InputFile, first: int, needed: Needed) -> Iterator[list[Row]]:
    """A row for each line that is not blank; a line that is not a JSON object has a problem."""
    for at, lines in _chunks(_lines(file), first):
        if needed(at, at + len(lines)):
            yield [_json_row(at + i, line) for i, line in enumerate(lines)]
        else:
            yield [Row(at + i, {}) for i in range(len(lines))]


def _lines(file: InputFile) -> Iterator[str]:
    try:
        with file.place.text() as stream:
            yield from (line for line in stream if not line.isspace())
    except (OSError, UnicodeDecodeError) as error:
        _broken(file, error)


def _json_row(number: int, line: str) -> Row:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, ValueError) else "it is nested too deeply"
        return Row(number, {}, f"the line is not JSON: {why}")
    if not isinstance(found, dict):
        return Row(number, {}, "the line is not a JSON object")
    return Row(number, found)


def comma(file: InputFile, first: int, needed: Needed) -> Iterator[list[Row]]:
    """Rows of CSV or TSV; every value is text. The first line has the columns' names."""
    rows = _records(file)
    header = next(rows, [])
    for at, records in _chunks(rows, first):
        if needed(at, at + len(records)):
            yield [_csv_row(at + i, header, record) for i, record in enumerate(records)]
        else:
            yield [Row(at + i, {}) for i in range(len(records))]


def csv_header(file: InputFile) -> list[str]:
    """The names of the columns."""
    return next(_records(file), [])


def _records(file: InputFile) -> Iterator[list[str]]:
    csv.field_size_limit(sys.maxsize)
    tab = "\t" if file.format == "tsv" else ","
    try:
        with file.place.text() as stream:
            yield from (record for record in csv.reader(stream, delimiter=tab) if record)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        _broken(file, error)


def _csv_row(number: int, header: list[str], record: list[str]) -> Row:
    if len(record) != len(header):
        return Row(number, {}, f"the row has {len(record)} values for {len(header)} columns")
    return Row(number, dict(zip(header, record, strict=True)))


def _chunks(items: Iterator[Any], first: int) -> Iterator[tuple[int, list[Any]]]:
    for start in count(first, BATCH):
        chunk = [item for _, item in zip(range(BATCH), items, strict=False)]
        if not chunk:
            return
        yield start, chunk


READERS: Mapping[str, Reader] = {"parquet": parquet, "jsonl": jsonl, "csv": comma, "tsv": comma}


def schema(file: InputFile) -> Mapping[str, Any]:
    """Columns and types of a Parquet file."""
    import pyarrow.parquet as pq

    try:
        with file.place.opened() as stream:
            found = pq.read_schema(stream)
    except (OSError, ValueError) as error:
        _broken(file, error)
    return dict(zip(found.names, found.types, strict=True))


def _broken(file: InputFile, error: Exception) -> NoReturn:
    why = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
    raise UsageError(
        f"{file.place} cannot be read as {file.format}: {why}",
        fix="repair the file, or give its name the ending of its format",
    ) from None

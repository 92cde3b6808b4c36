"""One file of all parts, in the order of the input."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from trtbuild.errors import BuildError, UsageError
from trtbuild.files import disk_trouble
from trtbuild.progress import Progress
from trtbuild_batch.output import contents, parts, record
from trtbuild_batch.output.record import Record
from trtbuild_batch.places import Place, place

FORMATS = (".parquet", ".jsonl", ".csv")
_ROWS = 1024


def merge(out: str, target: Path, progress: Progress, *, partial: bool = False) -> int:
    """Write all rows to one file and return how many.

    Args:
        out: The output directory.
        target: The file; its ending is the format. Rows of an OpenAI batch file become the result
            lines of its API in JSON Lines.
        progress: Is told how far it is.
        partial: Accept a job that is not complete.

    Raises:
        UsageError: No job, an incomplete one, a format that cannot hold its rows.
        BuildError: A part is damaged or has other rows than it should; the disk.
    """
    folder = place(out)
    job = record.need(folder)
    if target.suffix not in FORMATS:
        raise UsageError(
            f"the format of {target} is unknown", fix=f"name it with one of {', '.join(FORMATS)}"
        )
    if target.suffix == ".csv" and job.output in ("vector", "scores"):
        raise UsageError("CSV cannot hold lists of numbers", fix="name a .parquet or .jsonl file")
    there = contents.published(folder)
    if len(there) < job.parts and not partial:
        raise UsageError(
            f"the job is not complete: {len(there)} of {job.parts} parts are there",
            where=str(folder),
            fix="run it to its end first, or accept what is there with --partial",
        )
    if not there:
        raise UsageError("no part is there yet", where=str(folder), fix="run the job first")
    progress.step(f"merging {len(there)} parts")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    rows = 0
    try:
        with disk_trouble(target.parent), _writer(temporary, target.suffix, job) as write:
            for number in there:
                for batch in _batches(folder / parts.name_of(number), job, number):
                    write(batch)
                    rows += batch.num_rows
                    progress.advance(rows, job.rows, "rows")
        with disk_trouble(target.parent):
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return rows


def _batches(where: Place, job: Record, number: int) -> Iterator[Any]:
    """Yield the rows of a part. BuildError unless it has each of its rows exactly once."""
    import pyarrow.parquet as pq

    expected, last = job.span(number)
    try:
        with where.opened() as stream, pq.ParquetFile(stream) as file:
            for batch in file.iter_batches(_ROWS):
                found = batch["row"].to_pylist()
                if found != list(range(expected, expected + len(found))):
                    raise ValueError(f"its rows are not {expected} and those that follow")
                expected += len(found)
                yield batch
    except (OSError, ValueError, LookupError) as error:
        raise parts.damaged(where, error) from None
    if expected != last:
        raise parts.damaged(where, ValueError(f"it ends before row {last}"))


@contextlib.contextmanager
def _writer(path: Path, ending: str, job: Record) -> Iterator[Any]:
    """Yield a function that writes a batch."""
    with contextlib.ExitStack() as stack:
        if ending == ".jsonl":
            stream = stack.enter_context(path.open("w", encoding="utf-8"))
            line = _openai_line if job.output == "json" else _line
            yield lambda batch: _write_lines(stream, batch, line)
            return
        opened: list[Any] = []

        def write(batch: Any) -> None:
            if not opened:
                opened.append(stack.enter_context(_table_writer(path, ending, batch.schema)))
            opened[0].write_batch(batch)

        yield write


def _table_writer(path: Path, ending: str, schema: Any) -> Any:
    import pyarrow.csv
    import pyarrow.parquet as pq

    if ending == ".csv":
        return pyarrow.csv.CSVWriter(str(path), schema)
    return pq.ParquetWriter(str(path), schema.remove_metadata(), compression="zstd")


def _write_lines(stream: IO[str], batch: Any, line: Any) -> None:
    for row in batch.to_pylist():
        stream.write(json.dumps(line(row), ensure_ascii=False, default=str) + "\n")


def _line(row: dict[str, Any]) -> dict[str, Any]:
    return row


def _openai_line(row: dict[str, Any]) -> dict[str, Any]:
    """A line of OpenAI's output or error file."""
    name = f"batch_req_{row['row']}"
    found: dict[str, Any] = {"id": name, "custom_id": row["id"], "response": None, "error": None}
    if row["error"] is not None:
        return found | {"error": {"code": row["error_kind"], "message": row["error"]}}
    try:
        body = json.loads(row["output"])
    except ValueError as error:
        raise BuildError(
            f"the answer to {row['id']!r} is not JSON: {error}", fix="run the job again with --new"
        ) from None
    return found | {"response": {"status_code": 200, "request_id": name, "body": body}}

"""Look at a job: how far it is, and the rows that have an error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from trtbuild.errors import UsageError
from trtbuild.progress import Progress
from trtbuild_batch.jobs import run as running
from trtbuild_batch.jobs.preparing import scratch_of
from trtbuild_batch.jobs.tally import Snapshot
from trtbuild_batch.jobs.working import Watch
from trtbuild_batch.options import RunOptions, TaskOptions
from trtbuild_batch.output import contents, parts, record
from trtbuild_batch.output.contents import Contents
from trtbuild_batch.places import Place, place


def status(out: str) -> Contents:
    """Return how far the job of an output directory is.

    Raises:
        UsageError: It has no job.
        BuildError: A part is damaged, or the object store does not answer.
    """
    folder = place(out)
    job = record.need(folder)
    return contents.look(folder, scratch_of(folder), job)


@dataclass(frozen=True, slots=True)
class FailedRow:
    """A row of a published part that has an error."""

    row: int
    id: str | None
    kind: str
    error: str
    attempts: int


def failed_rows(out: str) -> Iterator[FailedRow]:
    """Yield the rows with an error, in order.

    Raises:
        UsageError: The directory has no job.
        BuildError: A part is damaged.
    """
    folder = place(out)
    record.need(folder)
    for number in contents.published(folder):
        where = folder / parts.name_of(number)
        if parts.counts(where)["errors"]:
            yield from map(_failed, _errors(where))


def _errors(where: Place) -> list[dict[str, Any]]:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    names = ("row", "id", "error_kind", "error", "attempts")
    try:
        with where.opened() as stream, pq.ParquetFile(stream) as file:
            known = [name for name in names if name in file.schema_arrow.names]
            table = file.read(columns=known)
        found: list[dict[str, Any]] = table.filter(pc.is_valid(table["error"])).to_pylist()
    except (OSError, ValueError, LookupError) as error:
        raise parts.damaged(where, error) from None
    return found


def _failed(row: dict[str, Any]) -> FailedRow:
    return FailedRow(row["row"], row.get("id"), row["error_kind"], row["error"], row["attempts"])


def kinds(rows: list[FailedRow]) -> dict[str, int]:
    """Return how many rows have each kind of error, the most frequent first."""
    return dict(Counter(row.kind for row in rows).most_common())


def retry(
    out: str, progress: Progress, watch: Watch, *, target: str = "", concurrency: int | None = None
) -> Snapshot:
    """Ask again about the rows that have an error, with the options of the last run.

    Args:
        out: The output directory.
        progress: Is told about each step.
        watch: Is given the state once a second.
        target: Another place of the same model; empty: the former one.
        concurrency: Calls at a time; None: as before.

    Raises:
        UsageError: It has no job, or one that is not complete.
    """
    folder = place(out)
    job = record.need(folder)
    found = contents.remembered(folder)
    there = len(contents.published(folder))
    if there < job.parts:
        raise UsageError(
            f"the job is not complete: {there} of {job.parts} parts are there",
            where=str(folder),
            fix="run it to its end first, with the same command",
        )
    try:
        options = RunOptions(
            **tuples(found["run"]) | {"out": out, "partition": "", "claim": False, "new": False}
        )
        task = TaskOptions(**tuples(found["task"]))
    except (LookupError, TypeError):
        raise UsageError(
            f"the options of the job are not known: {folder}/_options.json is missing or damaged",
            fix="run the command of the job again, which writes them",
        ) from None
    options = replace(
        options,
        target=target or options.target,
        concurrency=concurrency or options.concurrency,
    )
    return running.run(options, task, progress, watch, retries=True)


def tuples(values: dict[str, Any]) -> dict[str, Any]:
    """Return options as they were before JSON had them."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }

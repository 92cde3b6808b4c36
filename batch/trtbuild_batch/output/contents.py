"""What an output directory has: parts, journals, and the progress of those who work on it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtbuild.wire.failures import UNREADABLE
from trtbuild_batch.output import journal, locking, parts
from trtbuild_batch.output.record import Record
from trtbuild_batch.places import Place

_FRESH = 10.0  # seconds that a progress file counts for


@dataclass(frozen=True, slots=True)
class Contents:
    """How far a job is.

    Attributes:
        out: The output directory.
        rows: Of the job.
        done: Rows with an answer or an error.
        errors: Rows with an error.
        parts: Of the job.
        parts_done: Published ones.
        running: Whether a process of this machine works on it.
        prompt_tokens: Of the published parts.
        completion_tokens: Likewise.
        rows_per_s: Of all processes together; None if none runs.
        seconds_left: At that speed.
    """

    out: str
    rows: int
    done: int
    errors: int
    parts: int
    parts_done: int
    running: bool
    prompt_tokens: int
    completion_tokens: int
    rows_per_s: float | None
    seconds_left: float | None

    @property
    def complete(self) -> bool:
        """Whether every part is published."""
        return self.parts_done == self.parts


def published(folder: Place) -> list[int]:
    """Return the numbers of the published parts."""
    found = (parts.number_of(name) for name in folder.names())
    return sorted(number for number in found if number is not None)


def look(folder: Place, scratch: Path, record: Record) -> Contents:
    """Return how far a job is.

    Raises:
        BuildError: A part is damaged, or the object store does not answer.
    """
    there = published(folder)
    counted = [parts.counts(folder / parts.name_of(number)) for number in there]
    sums = {name: sum(one[name] for one in counted) for name in ("rows", "errors")}
    unfinished = list(_journals(scratch, set(there)))
    done = sums["rows"] + sum(rows for rows, _ in unfinished)
    rates = list(_rates(scratch))
    rate = sum(rates) if rates else None
    return Contents(
        out=str(folder),
        rows=record.rows,
        done=done,
        errors=sums["errors"] + sum(errors for _, errors in unfinished),
        parts=record.parts,
        parts_done=len(there),
        running=held(scratch),
        prompt_tokens=sum(one["prompt_tokens"] for one in counted),
        completion_tokens=sum(one["completion_tokens"] for one in counted),
        rows_per_s=rate,
        seconds_left=(record.rows - done) / rate if rate else None,
    )


def _journals(scratch: Path, there: set[int]) -> Iterator[tuple[int, int]]:
    for path in scratch.glob(".part-*.parquet.journal"):
        if parts.number_of(path.name.removeprefix(".").removesuffix(".journal")) not in there:
            try:
                yield journal.count(path)
            except FileNotFoundError:  # published meanwhile
                continue


def held(scratch: Path) -> bool:
    """Whether a process holds the lock of the directory."""
    try:
        fd = os.open(scratch / locking.NAME, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not locking.take(fd)
    finally:
        os.close(fd)


def say_progress(scratch: Path, share: int, state: dict[str, Any]) -> None:
    """Tell other processes how far this one is."""
    content = json.dumps({"at": time.time(), **state}).encode()
    path = scratch / f".progress-{share}.json"
    try:
        path.with_suffix(".tmp").write_bytes(content)
        path.with_suffix(".tmp").replace(path)
    except OSError:  # a full disk is reported where it loses something
        return


def forget_progress(scratch: Path, share: int) -> None:
    """Remove what :func:`say_progress` wrote."""
    (scratch / f".progress-{share}.json").unlink(missing_ok=True)


def _rates(scratch: Path) -> Iterator[float]:
    for path in scratch.glob(".progress-*.json"):
        try:
            found = json.loads(path.read_bytes())
            if time.time() - found["at"] < _FRESH and found["rows_per_s"]:
                yield float(found["rows_per_s"])
        except (OSError, *UNREADABLE):
            continue


def remember(folder: Place, options: dict[str, Any]) -> None:
    """Keep the options of the last run, for those who try its errors again."""
    text = json.dumps(options, indent=2, ensure_ascii=False)
    (folder / "_options.json").write(text.encode("utf-8", "backslashreplace"))


def remembered(folder: Place) -> dict[str, Any]:
    """Return the options of the last run; empty if they are lost."""
    try:
        found = json.loads((folder / "_options.json").read() or b"{}")
    except UNREADABLE:
        return {}
    return found if isinstance(found, dict) else {}

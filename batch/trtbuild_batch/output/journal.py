"""The journal of a part: a line for each row that is done, appended as it is done.

A line reaches the operating system before the next call is made, so that nothing is lost when the
process is killed. Against power failures it is synced to the disk twice a second.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trtbuild.wire.failures import UNREADABLE
from trtbuild_batch.engine import Outcome, Receipt
from trtbuild_batch.output.locking import take

ENDINGS = (".journal", ".retry")
"""Of a first run, and of one that tries its errors again."""
_NAMES = ("prompt_tokens", "completion_tokens")


@dataclass(slots=True)
class Journal:
    """Appends receipts to a file, and holds its lock: one process writes it.

    Args:
        path: The file; it is made if it is not there.
        key: The job's fingerprint. What another job wrote is dropped.
        kept: Returns what of a receipt stays in memory, in ``known``.
    """

    path: Path
    key: str
    kept: Callable[[Receipt], Receipt] = lambda receipt: receipt
    known: dict[int, Receipt] = field(default_factory=dict)
    _fd: int = -1
    _dirty: bool = False

    def open(self) -> bool:
        """Open it, cut off a torn end, and read what is done; False if another process has it.

        Raises:
            OSError: The disk.
        """
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        ours = False
        try:
            if take(self._fd):
                self._restore()
                ours = True
        finally:
            if not ours:
                self.close()
        return ours

    def _restore(self) -> None:
        with open(self._fd, "rb", closefd=False) as stream:
            good = self._read(stream)
        os.ftruncate(self._fd, good)
        if not good:
            os.write(self._fd, _line({"job": self.key}))

    def _read(self, lines: Any) -> int:
        """Read receipts; return how many bytes of the file are whole lines of this job."""
        good = 0
        for line in lines:
            found = _parsed(line)
            if found is None or (not good and found != {"job": self.key}):
                break
            if good:
                try:
                    row, receipt = _receipt(found)
                except UNREADABLE:
                    break
                self.known.setdefault(row, self.kept(receipt))
            good += len(line)
        return good

    def append(self, row: int, receipt: Receipt) -> None:
        """Write a line. OSError of the disk: then the row is not done."""
        content = _line(_record(row, receipt))
        written = os.write(self._fd, content)
        if written < len(content):  # a disk that is full takes a part; the rest raises
            os.write(self._fd, content[written:])
        self._dirty = True

    def unsynced(self) -> int:
        """Return a descriptor for :func:`sync_all` if something was appended, else -1.

        It is a copy, so that the file may be closed meanwhile.
        """
        if not self._dirty or self._fd < 0:
            return -1
        self._dirty = False
        return os.dup(self._fd)

    def close(self) -> None:
        """Give up the lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        """Remove it: the part that it was for is published."""
        self.path.unlink(missing_ok=True)
        self.close()


def drop_all(scratch: Path) -> None:
    """Remove the journals of a directory, apart from those that another process writes. OSError."""
    for path in scratch.glob(".part-*"):
        if path.suffix not in ENDINGS:
            continue
        with contextlib.suppress(FileNotFoundError), path.open("rb+") as stream:
            if take(stream.fileno()):
                path.unlink()


def sync_all(files: Sequence[int]) -> None:
    """Wait until the disk has what was written to these descriptors, and close them. OSError."""
    sync = getattr(os, "fdatasync", os.fsync)
    try:
        for fd in files:
            sync(fd)
    finally:
        for fd in files:
            os.close(fd)


def receipts(path: Path) -> Iterator[tuple[int, Receipt]]:
    """Yield the rows of a journal that is open already, with one in memory at a time. OSError."""
    with path.open("rb") as stream:
        for line in _after_head(stream):
            yield _receipt(json.loads(line))


def count(path: Path) -> tuple[int, int]:
    """Return the rows and the errors in a journal that another process may be writing."""
    rows = errors = 0
    with path.open("rb") as stream:
        for line in _after_head(stream):
            rows += line.endswith(b"\n")
            errors += b'"kind":' in line
    return rows, errors


def _after_head(lines: Any) -> Iterator[bytes]:
    next(lines, b"")
    yield from lines


def _parsed(line: bytes) -> Any:
    if not line.endswith(b"\n"):
        return None
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def _record(row: int, receipt: Receipt) -> dict[str, Any]:
    found: dict[str, Any] = {"row": row, "n": receipt.attempts, "ms": round(receipt.latency_ms, 3)}
    outcome = receipt.outcome
    if outcome is None:
        return found | {"kind": receipt.kind, "error": receipt.error}
    if isinstance(outcome.output, bytes):
        found["numbers"] = base64.b64encode(outcome.output).decode()
    else:
        found["text"] = outcome.output
    if outcome.finish_reason:
        found["finish"] = outcome.finish_reason
    for name in _NAMES:
        if (value := getattr(outcome, name)) is not None:
            found[name] = value
    return found


def _receipt(found: dict[str, Any]) -> tuple[int, Receipt]:
    row, attempts, latency = int(found["row"]), int(found["n"]), float(found["ms"])
    if "kind" in found:
        return row, Receipt(None, attempts, latency, str(found["error"]), str(found["kind"]))
    output = base64.b64decode(found["numbers"]) if "numbers" in found else str(found["text"])
    tokens = [None if found.get(name) is None else int(found[name]) for name in _NAMES]
    return row, Receipt(Outcome(output, str(found.get("finish", "")), *tokens), attempts, latency)

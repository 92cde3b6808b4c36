"""Records on the disk: JSON Lines in files of this process, written off the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from trtbuild.errors import UsageError
from trtbuild_gateway.experiment_settings import ExposureSettings

_log = logging.getLogger("trtbuild.gateway")
_PRIVATE = 0o600
_EVERY_SECONDS = 0.2  # lines of many requests are one write
_AGAIN_SECONDS = 2.0
_SAY_EVERY = 10.0  # seconds
_MOST_WAITING = 100_000  # records
_REMEMBERED = 10_000  # ids
_SEARCHED_BYTES = 256 * 1024 * 1024
_STEP = 1024 * 1024  # bytes; a search lets no other thread run, so that streams would stop

_encode = msgspec.json.Encoder().encode


class Journal:
    """Appends records. What cannot be written waits in memory, up to a limit, and is tried again.

    Attributes:
        lost: Records that were never written.

    Raises:
        UsageError: The directory cannot be used.
    """

    def __init__(self, settings: ExposureSettings) -> None:
        assert settings.directory is not None
        self._directory = settings.directory
        self._file_bytes = settings.file_bytes
        self._waiting: deque[Mapping[str, Any]] = deque()
        self._recent: OrderedDict[str, Mapping[str, Any]] = OrderedDict()
        self.lost = 0
        self._said = -math.inf
        self._new = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._searching = asyncio.Lock()
        now = datetime.now(UTC)
        self._stem = f"{socket.gethostname()}-{os.getpid()}-{now:%Y%m%dT%H%M%S%f}"
        self._files = 0
        self._fd = -1
        self._size = 0
        _require(self._directory)

    @property
    def waiting(self) -> int:
        """Records that are not written yet."""
        return len(self._waiting)

    def add(self, record: Mapping[str, Any]) -> None:
        """Have a record written soon."""
        if "variant" in record:
            self._recent[record["id"]] = record
            if len(self._recent) > _REMEMBERED:
                self._recent.popitem(last=False)
        if len(self._waiting) >= _MOST_WAITING:
            self.lost += 1
            return
        self._waiting.append(record)
        self._new.set()

    async def open(self) -> None:
        """Begin to write."""
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_on())

    async def close(self) -> None:
        """Write what waits, and close the file."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
            self._writing = None
        if not await self._written():
            _log.error("%d records of experiments are lost", len(self._waiting))
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    async def find(self, ids: Sequence[str]) -> Mapping[str, Any] | None:
        """Return the exposure with one of these ids; the latest files of the directory are
        searched for one of an earlier process or another replica."""
        for id in ids:
            if id in self._recent:
                return self._recent[id]
        async with self._searching:
            return await asyncio.to_thread(_search, self._directory, ids)

    async def _write_on(self) -> None:
        while True:
            await self._new.wait()
            await asyncio.sleep(_EVERY_SECONDS)
            self._new.clear()
            if not await self._written():
                await asyncio.sleep(_AGAIN_SECONDS)
                self._new.set()

    async def _written(self) -> bool:
        """Write what waits now; whether that succeeded."""
        records = list(islice(self._waiting, len(self._waiting)))
        if not records:
            return True
        writing = asyncio.ensure_future(asyncio.to_thread(self._append, records))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:  # the thread goes on, and its records are written once
            await asyncio.wait([writing])
            if writing.exception() is None:
                self._forget(len(records))
            raise
        except OSError as error:
            self._say(error)
            return False
        self._forget(len(records))
        return True

    def _forget(self, count: int) -> None:
        for _ in range(count):
            self._waiting.popleft()

    def _append(self, records: Sequence[Mapping[str, Any]]) -> None:
        content = b"".join(_encode(record) + b"\n" for record in records)
        if self._fd < 0 or self._size >= self._file_bytes:
            self._next_file()
        view, written = memoryview(content), 0
        try:
            while written < len(view):
                written += os.write(self._fd, view[written:])
        except OSError:
            with contextlib.suppress(OSError):  # half a line must not stay
                os.ftruncate(self._fd, self._size)
            raise
        self._size += written

    def _next_file(self) -> None:
        path = self._directory / f"{self._stem}-{self._files + 1:04}.jsonl"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(path, flags, _PRIVATE)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size, self._files = fd, 0, self._files + 1

    def _say(self, error: OSError) -> None:
        now = time.monotonic()
        if now - self._said >= _SAY_EVERY:
            self._said = now
            _log.error(
                "the records of experiments cannot be written to %s: %s; %d wait, %d are lost",
                *(self._directory, error.strerror, len(self._waiting), self.lost),
            )


def _require(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        problem = "" if os.access(directory, os.W_OK | os.X_OK) else "Permission denied"
    except OSError as error:
        problem = str(error.strerror)
    if problem:
        raise UsageError(
            f"the records of experiments cannot be written to {directory}: {problem}",
            fix="name a directory in exposures.directory that the gateway may write",
        )


def _search(directory: Path, ids: Sequence[str]) -> Mapping[str, Any] | None:
    """Return an exposure from the latest files; an unreadable one is passed over."""
    left, wanted = _SEARCHED_BYTES, [f'"id":"{id}"'.encode() for id in ids]
    for path in sorted(directory.glob("*.jsonl"), key=_changed, reverse=True):
        with contextlib.suppress(OSError), path.open("rb") as file:
            left -= os.fstat(file.fileno()).st_size
            if (found := _exposure_in(file, wanted)) is not None:
                return found
        if left < 0:
            break
    return None


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _exposure_in(file: BinaryIO, wanted: Sequence[bytes]) -> Mapping[str, Any] | None:
    """Return the first exposure of a file with one of these ids.

    It is read in steps, not mapped: a mapped file that somebody shortens ends the process.
    """
    line = b""  # the beginning of one that the next step ends
    while block := file.read(_STEP):
        lines, _, line = (line + block).rpartition(b"\n")
        line = line[-_STEP:]  # no record is so long
        for one in wanted:
            if (found := _exposure_among(lines, one)) is not None:
                return found
    return None


def _exposure_among(lines: bytes, wanted: bytes) -> Mapping[str, Any] | None:
    at = lines.find(wanted)
    while at >= 0:
        end = lines.find(b"\n", at)
        end = len(lines) if end < 0 else end
        with contextlib.suppress(msgspec.DecodeError):
            found = msgspec.json.decode(lines[lines.rfind(b"\n", 0, at) + 1 : end])
            if isinstance(found, dict) and "variant" in found:
                return found
        at = lines.find(wanted, end)
    return None

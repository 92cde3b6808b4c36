"""The audit log: one line for each call, appended to a file that one gateway writes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import time
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trtbuild.errors import RecipeError, UsageError
from trtbuild_gateway.access.audit_file import last_line, opened, read_key
from trtbuild_gateway.access.chain import CONTINUED, ChainError, Link, check_line, next_line
from trtbuild_gateway.access_settings import AuditSettings
from trtbuild_gateway.failures import unavailable
from trtbuild_gateway.seams import Call, Outcome

_log = logging.getLogger("trtbuild.gateway")
_MOST_WAITING = 1000  # lines
_SYNC_SECONDS = 1.0
_SAY_EVERY = 10.0  # seconds


class AuditLog:
    """Appends lines. What cannot be written waits in memory, up to a limit, and is tried again.

    Attributes:
        path: The file.
        lost: Lines that were never written.

    Raises:
        UsageError: The file cannot be written, is none, or another gateway writes it.
        RecipeError: Its last line is not what was written.
    """

    def __init__(self, settings: AuditSettings) -> None:
        self.path = settings.path
        self._settings = settings
        self._key = read_key(settings.key_file) if settings.key_file else b""
        self._waiting: deque[Mapping[str, Any]] = deque()
        self._lost = 0
        self.lost = 0
        self._said = -math.inf
        self._syncing: asyncio.Task[None] | None = None
        self._dirty = False
        self._moved: list[int] = []  # files that were moved away
        self._fd = opened(settings.path)
        try:
            self._end, self._size = self._recovered(self._fd)
        except BaseException:
            os.close(self._fd)
            raise

    @property
    def waiting(self) -> int:
        """Lines that could not be written yet."""
        return len(self._waiting)

    @property
    def keeps_prompts(self) -> bool:
        """Whether prompts are in it."""
        return self._settings.prompts

    @property
    def _refuses(self) -> bool:
        return self._settings.on_failure == "refuse"

    def adopt(self, settings: AuditSettings) -> None:
        """Go on with new settings; RecipeError for another key, which would break the chain."""
        if settings.key_file != self._settings.key_file:
            raise RecipeError(
                f"the key of the audit log {self.path} cannot change while it is written",
                fix="name another file in access.audit.path, or restart with it moved away",
            )
        self._settings = settings

    def reopen(self) -> None:
        """Go on in a new file if the old one was moved away; the chain continues there.

        Without a usable new file the lines still go to the old one, and the log says why.
        """
        if self._fd < 0 or _is_at(self._fd, self.path):
            return
        try:
            fd = opened(self.path)
        except UsageError as error:
            _log.error("the audit log was moved and is continued there: %s", error)
            return
        if os.fstat(fd).st_size:
            os.close(fd)
            _log.error("the audit log was moved and is continued there: %s is not empty", self.path)
            return
        self._write_waiting()
        self._moved.append(self._fd)
        self._fd, self._size = fd, 0
        # Before the lines that the old file's disk had no room for.
        self._waiting.appendleft({"time": _now(), "event": CONTINUED})
        self._write_waiting()

    async def open(self) -> None:
        """Begin to make the disk keep the lines."""
        if self._syncing is None:
            self._syncing = asyncio.create_task(self._sync())

    async def close(self) -> None:
        """Write what waits, and close the file."""
        if self._syncing is not None:
            self._syncing.cancel()
            self._syncing = None
        if self._fd < 0:
            return
        if not self._write_waiting():
            lines = len(self._waiting) + self._lost
            _log.error("%d lines of the audit log %s are lost", lines, self.path)
        _finish([*self._moved, self._fd])
        self._moved.clear()
        self._fd = -1

    def require(self) -> None:
        """Raise ApiError 503 if lines cannot be written and calls are refused then."""
        if self._refuses and self._waiting and not self._write_waiting():
            raise unavailable("the audit log cannot be written now", "audit_unavailable")

    def note(self, call: Call, outcome: Outcome, **more: Any) -> None:
        """Add the line of a call that has ended."""
        entry: dict[str, Any] = {
            "event": "call",
            "request": call.id,
            "caller": call.caller.id,
            "endpoint": call.endpoint,
            "model": call.model,
            "status": outcome.status,
            "error": outcome.error,
            "prompt_tokens": outcome.prompt_tokens,
            "completion_tokens": outcome.completion_tokens,
            "ms": round((time.monotonic() - call.started) * 1000, 1),
        }
        self._add(entry | more)

    def _add(self, entry: Mapping[str, Any]) -> None:
        if self._waiting:
            self._write_waiting()
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.append({"time": _now(), **entry})
        else:
            self._lost += 1
            self.lost += 1
        self._write_waiting()

    def _write_waiting(self) -> bool:
        """Write the lines that wait; whether that succeeded."""
        try:
            while self._waiting:
                self._write(self._waiting[0])
                self._waiting.popleft()
            if self._lost:
                self._write({"time": _now(), "event": "lost", "lines": self._lost})
                self._lost = 0
        except OSError as error:
            self._say(error)
            return False
        return True

    def _write(self, entry: Mapping[str, Any]) -> None:
        line, end = next_line(self._end, entry, self._key)
        written = 0
        try:
            while written < len(line):
                written += os.write(self._fd, line[written:])
        except OSError:
            with contextlib.suppress(OSError):  # half a line must not stay
                os.ftruncate(self._fd, self._size)
            raise
        self._end, self._size, self._dirty = end, self._size + len(line), True

    def _say(self, error: OSError) -> None:
        now = time.monotonic()
        if now - self._said >= _SAY_EVERY:
            self._said = now
            then = "requests are refused" if self._refuses else "requests go on"
            _log.error(
                "the audit log %s cannot be written: %s; %s, %d lines wait, %d are lost",
                *(self.path, error.strerror, then, len(self._waiting), self._lost),
            )

    async def _sync(self) -> None:
        """Make the disk keep the lines, off the event loop."""
        while True:
            await asyncio.sleep(_SYNC_SECONDS)
            if not self._dirty:
                continue
            self._dirty = False
            moved, self._moved = self._moved, []
            try:
                await asyncio.to_thread(_finish, moved)
                await asyncio.to_thread(os.fsync, self._fd)
            except OSError as error:
                self._say(error)

    def _recovered(self, fd: int) -> tuple[Link, int]:
        """Return the end of the chain and the size of the file, without a line that was cut.

        A gateway that was killed, or a machine that lost power, can leave one; a line in the log
        says how much of it was removed.
        """
        size = os.fstat(fd).st_size
        whole, line = last_line(fd, size)
        end = Link()
        if line:
            try:
                end = check_line(line, self._key).link
            except ChainError as error:
                raise RecipeError(
                    f"the audit log {self.path} cannot be continued, its last line is wrong: "
                    f"{error}",
                    fix="look at it with `trtbuild audit verify`, and move it away or give the "
                    "right key",
                ) from None
        if whole < size:
            os.ftruncate(fd, whole)
            self._end, self._size = end, whole
            _log.warning("%s ended with half a line, which was removed", self.path)
            self._write({"time": _now(), "event": "recovered", "removed_bytes": size - whole})
            return self._end, self._size
        return end, size


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _is_at(fd: int, path: Path) -> bool:
    """Return whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False


def _finish(fds: Iterable[int]) -> None:
    """Have the disk keep files, and close them."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.fsync(fd)
        os.close(fd)

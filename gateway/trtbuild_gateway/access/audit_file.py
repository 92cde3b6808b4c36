"""The file of an audit log, and the key of its chain."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from trtbuild.errors import RecipeError, UsageError

_PRIVATE = 0o600
_BLOCK = 1 << 16
_LEAST_KEY = 16  # bytes


def read_key(path: Path) -> bytes:
    """Return the key of a chain.

    Raises:
        RecipeError: The file cannot be read, or the key is too short.
    """
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise RecipeError(
            f"the audit key {path} cannot be read: {error.strerror}",
            fix="make it with `openssl rand -hex 32`",
        ) from None
    if len(key) < _LEAST_KEY:
        raise RecipeError(
            f"the audit key {path} has fewer than {_LEAST_KEY} bytes",
            fix="make it with `openssl rand -hex 32`",
        )
    return key


def opened(path: Path) -> int:
    import fcntl

    try:
        # Nothing waits: opening a pipe would.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(path, flags, _PRIVATE)
    except OSError as error:
        raise UsageError(
            f"the audit log {path} cannot be opened: {error.strerror}",
            fix="name a file in access.audit.path that the gateway may write",
        ) from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UsageError(
                f"the audit log {path} is not a regular file",
                fix="name a file in access.audit.path: nobody can check what a device or pipe got",
            )
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise UsageError(
            f"another gateway writes the audit log {path}",
            fix="give each gateway its own file",
        ) from None
    except UsageError:
        os.close(fd)
        raise
    return fd


def last_line(fd: int, size: int) -> tuple[int, bytes]:
    """Return where the last whole line ends, and the line without its end."""
    start, data = size, b""
    while start > 0 and data.count(b"\n") < 2:  # the end of the line, and that of the one before
        step = min(start, max(_BLOCK, len(data)))
        start -= step
        data = os.pread(fd, step, start) + data
    end = data.rfind(b"\n")
    if end < 0:
        return 0, b""
    return start + end + 1, data[data.rfind(b"\n", 0, end) + 1 : end]

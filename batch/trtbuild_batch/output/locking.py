"""One process for each output directory, or several that divide its parts."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trtbuild.errors import UsageError

NAME = ".lock"


def take(fd: int, *, shared: bool = False) -> bool:
    """Take the lock of an open file; False if another process has it. Without locks True."""
    if os.name != "posix":
        return True
    import fcntl

    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


@contextmanager
def only_one(folder: Path, where: str, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of an output directory.

    Args:
        folder: Where the lock file is.
        where: The output directory, for people.
        shared: Together with others that divide the parts.

    Raises:
        UsageError: Another process works there.
    """
    fd = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not take(fd, shared=shared):
            holder = os.read(fd, 40).decode("ascii", "replace").strip()
            raise UsageError(
                f"another process works on {where}",
                where=f"process {holder}" if holder and not shared else "",
                fix="wait for it, or end it; to work on one job with several processes, start each "
                "with --partition or --claim",
            )
        if not shared:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)

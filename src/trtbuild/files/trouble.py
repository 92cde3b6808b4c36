"""Disk errors, reported with a fix."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trtbuild.errors import BuildError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FILES = {errno.EMFILE, errno.ENFILE}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}

# Space for directories, a journal and rounding up to blocks, besides the files' bytes.
_SLACK_BYTES = 256 << 10


@contextmanager
def disk_trouble(folder: Path, state: str = "nothing was changed") -> Iterator[None]:
    """Convert errors of the disk under ``folder`` into a :class:`BuildError`.

    ``state`` tells the user what the failure leaves behind.
    """
    try:
        yield
    except OSError as error:
        raise _explain(error, folder, state) from error


def _explain(error: OSError, folder: Path, state: str) -> BuildError:
    where = str(error.filename or folder)
    if error.errno in _FULL:
        return BuildError(
            f"the disk of {folder} is full (or a quota or file size limit is reached)",
            where=where,
            fix=f"free space there ({_free(folder)}), or choose another disk; {state}",
        )
    if error.errno in _DENIED:
        return BuildError(
            f"{folder} cannot be written to: {error.strerror}",
            where=where,
            fix=f"choose a directory you may write to, or change its owner; {state}",
        )
    if error.errno in _FILES:
        return BuildError(
            f"too many files are open at once to write {folder}",
            where=where,
            fix=f"allow more (ulimit -n), or end what else has files open; {state}",
        )
    return BuildError(
        f"the disk of {folder} failed: {error.strerror or error}",
        where=where,
        fix=f"look at the disk's health (dmesg), or choose another one; {state}",
    )


def _free(folder: Path) -> str:
    try:
        free = shutil.disk_usage(_existing(folder)).free
    except OSError:
        return "its free space cannot be read"
    return f"{_size(free)} are free"


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.1f} MiB"


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def require_space(
    folder: Path,
    needed_bytes: int,
    *,
    fix: str = "free space there, or name a directory on another disk; nothing was changed",
) -> None:
    """Raise BuildError if the disk of ``folder`` lacks ``needed_bytes`` plus a margin."""
    free = shutil.disk_usage(_existing(folder)).free
    needed = needed_bytes + needed_bytes // 100 + _SLACK_BYTES
    if needed_bytes and free < needed:
        raise BuildError(
            f"not enough space on the disk of {folder}: {_size(needed)} are needed, "
            f"{_size(free)} are free",
            fix=fix,
        )

"""Clone files as cheaply as the file system allows.

Python reads no data: a reflink shares extents, a hard link shares the inode, and otherwise the
kernel copies. Holes stay holes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

Method = Literal["reflink", "hardlink", "copy_file_range", "sendfile", "copy"]

# Smaller files are always copied: it costs little, and these are the files that people edit.
LINKABLE_BYTES = 1 << 20

_FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)
_CHUNK = 64 << 20
_SYNC_EVERY = 512 << 20
_NOT_HERE = {
    errno.EXDEV,
    errno.ENOSYS,
    errno.EINVAL,
    errno.EOPNOTSUPP,
    errno.ENOTTY,
    errno.EBADF,
    errno.EPERM,
    errno.ETXTBSY,
}
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS}

Advance = Callable[[int], None]


def clone_file(
    src: Path, dst: Path, *, link: bool = True, advance: Advance = lambda _: None
) -> Method:
    """Clone ``src`` to the new path ``dst``; return the method.

    Args:
        src: A file; a symbolic link (the Hugging Face cache is made of them) is followed.
        dst: Must not exist; its directory must.
        link: Whether both names may share one inode. Leave it off for a source that may be
            rewritten in place, because that would change ``dst`` too.
        advance: Called with bytes done, for progress.

    The copy has the modification time of the source and is synced to disk. Raises OSError without
    leaving a partial ``dst``.
    """
    src = src.resolve(strict=True)
    try:
        method = _clone(src, dst, link, advance)
    except FileExistsError:  # it is somebody else's
        raise
    except BaseException:
        with contextlib.suppress(OSError):
            dst.unlink()
        raise
    if method in ("reflink", "hardlink"):
        advance(src.stat().st_size)
    return method


def clone_needs_space(src: Path, folder: Path, *, link: bool = True) -> int:
    """Return the maximum bytes for cloning ``src`` into ``folder``: 0 with a hard link."""
    status = src.stat()
    same_disk = status.st_dev == folder.stat().st_dev
    if link and same_disk and status.st_size >= LINKABLE_BYTES:
        return 0
    blocks = getattr(status, "st_blocks", 0) * 512
    return min(status.st_size, blocks) if blocks else status.st_size


def _clone(src: Path, dst: Path, link: bool, advance: Advance) -> Method:
    linkable = link and src.stat().st_size >= LINKABLE_BYTES
    with src.open("rb") as reader:
        with dst.open("xb") as writer:
            if _reflink(reader.fileno(), writer.fileno()):
                _keep_time(src, dst)
                return "reflink"
            if not linkable:
                return _copied(src, dst, reader.fileno(), writer.fileno(), advance)
        dst.unlink()
        if _hard_link(src, dst):
            return "hardlink"
        with dst.open("xb") as writer:
            return _copied(src, dst, reader.fileno(), writer.fileno(), advance)


def _reflink(reader: int, writer: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    import fcntl

    try:
        fcntl.ioctl(writer, _FICLONE, reader)
    except OSError as error:
        if error.errno in _NOT_HERE:
            return False
        raise
    return True


def _hard_link(src: Path, dst: Path) -> bool:
    try:
        os.link(src, dst)
    except OSError as error:
        if error.errno in _NO_LINK:
            return False
        raise
    return True


def _copied(src: Path, dst: Path, reader: int, writer: int, advance: Advance) -> Method:
    method = _copy(src, dst, reader, writer, advance)
    _keep_time(src, dst)
    return method


def _copy(src: Path, dst: Path, reader: int, writer: int, advance: Advance) -> Method:
    size = os.fstat(reader).st_size
    for method, move in _movers():
        try:
            _copy_segments(reader, writer, size, move, advance)
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            continue
        return method
    shutil.copyfile(src, dst)
    advance(size)
    return "copy"


def _movers() -> Iterator[tuple[Method, Callable[[int, int, int, int], int]]]:
    if sys.platform.startswith("linux"):
        yield "copy_file_range", _by_copy_file_range
        yield "sendfile", _by_sendfile


def _by_copy_file_range(reader: int, writer: int, at: int, count: int) -> int:
    return os.copy_file_range(reader, writer, count, at, at)


def _by_sendfile(reader: int, writer: int, at: int, count: int) -> int:
    os.lseek(writer, at, os.SEEK_SET)
    return os.sendfile(writer, reader, at, count)


def _copy_segments(
    reader: int,
    writer: int,
    size: int,
    move: Callable[[int, int, int, int], int],
    advance: Advance,
) -> None:
    """Copy every segment of data; ``ftruncate`` creates the holes in between."""
    os.ftruncate(writer, size)
    unsynced = 0
    for start, end in _data_segments(reader, size):
        at = start
        while at < end:
            moved = move(reader, writer, at, min(_CHUNK, end - at))
            if not moved:
                raise OSError(errno.EIO, "the file became shorter while it was copied")
            at += moved
            unsynced += moved
            advance(moved)
            if unsynced >= _SYNC_EVERY:  # in chunks, so that Ctrl-C is handled soon
                os.fsync(writer)
                unsynced = 0
    os.fsync(writer)


def _data_segments(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield ``(start, end)`` of the data segments of a file."""
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole until the end
                return
            yield at, size  # a file system without holes
            return
        yield start, end
        at = end


def _keep_time(src: Path, dst: Path) -> None:
    """Copy the modification time, on which the digest cache relies."""
    status = src.stat()
    os.utime(dst, ns=(status.st_atime_ns, status.st_mtime_ns))

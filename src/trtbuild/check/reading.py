"""Reading files that may be hostile: no link out of the repository, no pipe, nothing endless."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from trtbuild.files import is_pointer

MAX_BYTES = 64 << 20
"""The most that is read of a file that should be small; a large tokenizer.json has 30 MB."""
_MAX_ENTRIES = 100_000
_HEAD = 64  # bytes that tell a Git LFS pointer


class ReportedError(OSError):
    """The file cannot be judged, and a rule of its own reports why. Other rules let this escape."""


class OutsideError(ReportedError):
    """The file lies behind a link out of the repository, so it is not looked at."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EXDEV, "it lies behind a link out of the repository", str(path))


class PointerError(ReportedError):
    """A Git LFS pointer lies where the file should be."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.ENODATA, "it is a Git LFS pointer", str(path))


def is_inside(path: Path, root: Path) -> bool:
    """Whether ``path``, links resolved, is in ``root``. Both may be missing."""
    try:
        if _has_no_link(str(path), str(root)):
            return True
        home = os.path.realpath(root)
        return os.path.commonpath((home, os.path.realpath(path))) == home
    except (OSError, ValueError):  # a null byte
        return False


def _has_no_link(path: str, root: str) -> bool:
    """Whether ``path`` is ``root`` and names below it, none of them a link: the usual case, known
    without resolving the root each time."""
    below = "" if root == "." else f"{root}/"
    if not path.startswith(below) or path.startswith("/") != root.startswith("/"):
        return False
    names = path.removeprefix(below).split("/")
    if ".." in names:
        return False
    try:
        for number in range(len(names)):
            if stat.S_ISLNK(os.lstat(below + "/".join(names[: number + 1])).st_mode):
                return False
    except FileNotFoundError:
        return True
    return True


def open_inside(path: Path, root: Path) -> BinaryIO:
    """Open a regular file of a repository for reading, without waiting for anything.

    Raises:
        OutsideError: A link leads out of ``root``.
        PointerError: It is a Git LFS pointer.
        OSError: It cannot be read, or is a directory, a pipe, a socket or a device.
    """
    if not is_inside(path, root):
        raise OutsideError(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    found = os.fstat(descriptor)
    try:
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is not a file", str(path))
        if is_pointer(os.pread(descriptor, _HEAD, 0), found.st_size):
            raise PointerError(path)
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_inside(path: Path, root: Path, limit: int = MAX_BYTES) -> bytes:
    """The content of a file of a repository; raises as :func:`open_inside`, and when it is longer
    than ``limit`` bytes."""
    with open_inside(path, root) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > limit:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes", str(path))
        return stream.read(limit)


Kind = Literal["file", "folder", "link", "other", "unreadable"]


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in a model's directory; ``path`` is relative to it, ``why`` says what is wrong."""

    path: str
    kind: Kind
    why: str = ""


def walk(top: Path) -> Iterator[Entry]:
    """What is in a directory and below, links not followed, at most 100,000 entries."""
    left, waiting = _MAX_ENTRIES, [""]
    while waiting and left > 0:
        folder = waiting.pop()
        try:
            with os.scandir(top / folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            yield Entry(folder, "unreadable", error.strerror or str(error))
            continue
        for entry in entries[:left]:
            path = f"{folder}/{entry.name}" if folder else entry.name
            kind = _kind(entry)
            if kind == "folder":
                waiting.append(path)
            yield Entry(path, kind)
        left -= len(entries)


def _kind(entry: os.DirEntry[str]) -> Kind:
    if entry.is_symlink():
        return "link"
    if entry.is_dir():
        return "folder"
    return "file" if entry.is_file() else "other"


_SHORTEST = 8  # bytes; no format of a model fits into fewer


def is_placeholder(path: Path) -> bool:
    """Whether a file is too short to be a model: somebody keeps its place in version control, and
    the model is copied there on deployment."""
    return path.stat().st_size < _SHORTEST

"""Atomic creation of directories and files: prepared under another name, then renamed.

A directory being prepared is locked (``flock``) by its process, so that the next run can detect and
remove what a killed process left behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trtbuild.endings import uninterrupted

MARK = ".trtbuild-"
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
_LOCK_POLL = 0.2


@contextmanager
def scratch(parent: Path, stem: str) -> Iterator[Path]:
    """Yield a new hidden directory ``.STEM.trtbuild-XXXX`` in ``parent``, removed at the end in any
    case. Abandoned ones of the same stem are removed first. Raises OSError.
    """
    folder: Path | None = None
    lock: int | None = None
    try:
        with uninterrupted():
            sweep(parent, stem)
            folder, lock = _create(parent, stem)
        yield folder
    finally:
        with uninterrupted():
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            if lock is not None:
                os.close(lock)


def sweep(
    parent: Path, stem: str, *, before: Callable[[Path], None] = lambda _: None
) -> tuple[Path, ...]:
    """Remove the scratch directories of ``stem`` in ``parent`` whose process is gone; return them.

    ``before`` is called with each, so that nearly finished work can be completed. On a file system
    without locks nothing is removed, because abandoned directories cannot be detected.
    """
    gone = []
    for folder in sorted(parent.glob(f".{_escaped(stem)}{MARK}*")):
        if not folder.is_dir() or folder.is_symlink():
            continue
        try:
            lock = _try_lock(folder)
        except OSError:
            continue
        if lock >= 0:
            before(folder)
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
            gone.append(folder)
    return tuple(gone)


def _escaped(stem: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in stem)


def _create(parent: Path, stem: str) -> tuple[Path, int | None]:
    while True:
        folder = parent / f".{stem}{MARK}{secrets.token_hex(4)}"
        folder.mkdir()
        try:
            lock = _try_lock(folder)
        except FileNotFoundError:
            continue
        if lock != _BUSY and folder.is_dir():
            return folder, lock if lock != _NO_LOCKS else None
        # another process took it for abandoned after it was made
        if lock >= 0:
            os.close(lock)


_BUSY = -1
_NO_LOCKS = -2


def _try_lock(folder: Path) -> int:
    """Return the descriptor that holds the lock of ``folder``, or why there is none."""
    if os.name != "posix":
        return _NO_LOCKS
    import fcntl

    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        return _BUSY if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else _NO_LOCKS
    return fd


@contextmanager
def exclusive(folder: Path, *, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Allow one process at a time in the block for ``folder``; call ``waiting`` before waiting.

    Without ``flock`` the block runs unlocked.
    """
    if os.name != "posix":
        yield
        return
    fd = os.open(folder, os.O_RDONLY)
    said = False
    try:
        while not _locked(fd):
            if not said:
                waiting()
                said = True
            time.sleep(_LOCK_POLL)  # a call that blocks forever may miss a signal just before it
        yield
    finally:
        os.close(fd)


def _locked(fd: int) -> bool:
    """Whether we hold the lock now, or the file system has no locks."""
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


@contextmanager
def staged_dir(target: Path) -> Iterator[Path]:
    """Yield a directory that becomes ``target`` at the end of the block, and only then.

    An error or Ctrl-C leaves an older ``target`` unchanged and no other files. The
    directory lies next to ``target`` under a hidden name: for a *model repository* use
    :mod:`trtbuild.repository` instead, because Triton treats every directory there as a model.
    """
    # follow a link to use the disk, and the space, that it points to
    target = Path(os.path.realpath(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    with scratch(target.parent, target.name) as folder:
        new = folder / "new"
        new.mkdir()
        yield new
        sync_tree(new)  # before the rename, or a power failure could leave empty files
        with uninterrupted():
            if target.exists():
                exchange(new, target)
            else:
                new.rename(target)
            sync_folder(target.parent)


def atomic_write(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write ``path`` so that readers see either the old or the new bytes, even after a crash.

    The umask applies to ``mode``, as it does to that of every new file.
    """
    require_regular(path)  # the rename would put a file in the place of a device
    temporary = path.with_name(f".{path.name}{MARK}{secrets.token_hex(4)}")
    try:
        write_synced(temporary, content, mode=mode)
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def require_regular(path: Path) -> None:
    """Raise OSError for a device or a pipe, which may have no end."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def write_synced(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file and wait until the disk has it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(os.open(path, flags, mode), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def sync_tree(folder: Path) -> None:
    """Wait until the disk has every file and directory of a tree."""
    for root, _, names in os.walk(folder):
        for name in names:
            with (Path(root) / name).open("rb") as stream:
                os.fsync(stream.fileno())
        sync_folder(Path(root))


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a directory."""
    if os.name != "posix":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def exchange(path: Path, other: Path) -> None:
    """Swap two names. On Linux a reader always sees either the old or the new.

    Elsewhere it takes three renames, undone if one of them fails.
    """
    if _exchange_at_once(path, other):
        return
    aside = path.with_name(f"{path.name}.aside")
    other.rename(aside)
    try:
        path.rename(other)
    except BaseException:
        aside.rename(other)
        raise
    aside.rename(path)


def _exchange_at_once(path: Path, other: Path) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # a C library older than glibc 2.28
        return False
    result = renameat2(
        _AT_FDCWD, os.fsencode(path), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE
    )
    if result == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), str(path), None, str(other))

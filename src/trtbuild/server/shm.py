"""Shared memory and sockets of servers: find, record and remove them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from trtbuild import process
from trtbuild.server.mode import SHM_PREFIX

ROOT = Path("/dev/shm")  # noqa: S108 - the kernel's own place for shared memory

_STREAMS = "streams"
"""Mailboxes of the engine flow's models: ``trtbuild_streams_<uid>_<pid of the server>``."""


def ipc_folder(server_id: str) -> Path:
    """Return the directory of an engine's sockets; short, because a socket's path has 107 bytes."""
    return Path(tempfile.gettempdir()) / f"trtbuild-{server_id}"


def foreign_files(members: Iterable[process.Member]) -> tuple[str, ...]:
    """Return a server's shared memory under names that libraries chose, such as ``psm_…``."""
    found = process.mapped_files(list(members), str(ROOT))
    return tuple(sorted(path for path in found if SHM_PREFIX not in path))


def sweep(server_id: str, foreign: Iterable[str] = ()) -> tuple[str, ...]:
    """Remove the shared memory of a server that is gone; return the removed names.

    A file with a library's name is removed only if no process maps it: names are reused.
    """
    ours = ROOT.glob(f"{SHM_PREFIX}{server_id}_*") if ROOT.is_dir() else ()
    candidates = [Path(path) for path in foreign if Path(path).exists()]
    if candidates:
        used = process.all_mapped_files(str(ROOT))
        candidates = [path for path in candidates if str(path) not in used]
    removed = [path for path in (*ours, *candidates) if _unlink(path)]
    shutil.rmtree(ipc_folder(server_id), ignore_errors=True)
    return tuple(str(path) for path in removed)


def orphans(known: Iterable[str]) -> tuple[str, ...]:
    """Return ids in names of shared memory and sockets without a record or process."""
    if not ROOT.is_dir():
        return ()
    used = process.all_mapped_files(str(ROOT))
    found = {
        path.name.split("_")[1] for path in ROOT.glob(f"{SHM_PREFIX}*_*") if str(path) not in used
    }
    return tuple(sorted(found - set(known) - {_STREAMS}))


def sweep_mailboxes() -> tuple[str, ...]:
    """Remove the mailboxes of servers that were killed; return the removed names.

    A model holds a lock on its file as long as it runs, which is visible across containers.
    """
    if not ROOT.is_dir():
        return ()
    mine = f"{SHM_PREFIX}{_STREAMS}_{os.getuid()}_"
    gone = [
        folder
        for folder in ROOT.glob(f"{mine}*")
        if not process.exists(folder.name.removeprefix(mine)) and not _locked(folder)
    ]
    for folder in gone:
        shutil.rmtree(folder, ignore_errors=True)
    return tuple(str(folder) for folder in gone if not folder.exists())


def _locked(folder: Path) -> bool:
    """Whether a process has a file in it locked, or it is unknown."""
    import fcntl  # not on every system, but on all that have /dev/shm

    try:
        for path in folder.iterdir():
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def _unlink(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True

"""Shared memory and sockets of servers: found, remembered, swept."""

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
    """Where a server's engine keeps its sockets; short, for a socket's path has 107 bytes."""
    return Path(tempfile.gettempdir()) / f"trtbuild-{server_id}"


def foreign_files(members: Iterable[process.Member]) -> tuple[str, ...]:
    """Shared memory of a server under names that its libraries chose, such as ``psm_…``."""
    found = process.mapped_files(list(members), str(ROOT))
    return tuple(sorted(path for path in found if SHM_PREFIX not in path))


def sweep(server_id: str, foreign: Iterable[str] = ()) -> tuple[str, ...]:
    """Remove what a server that is gone left in shared memory; the names removed.

    A file of a foreign name goes only when no process has it mapped: names are reused.
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
    """Return ids in names of shared memory and sockets that no record or process knows."""
    if not ROOT.is_dir():
        return ()
    used = process.all_mapped_files(str(ROOT))
    found = {
        path.name.split("_")[1] for path in ROOT.glob(f"{SHM_PREFIX}*_*") if str(path) not in used
    }
    return tuple(sorted(found - set(known) - {_STREAMS}))


def sweep_mailboxes() -> tuple[str, ...]:
    """Remove the mailboxes of servers that were killed; the names removed.

    A model holds a lock on its file for as long as it lives, which shows across containers, too.
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
    """Whether somebody has a file in it locked, or it cannot be told."""
    import fcntl  # not on every system, but wherever there is a /dev/shm

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

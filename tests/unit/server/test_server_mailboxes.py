"""What killed servers of the engine flow leave in shared memory."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trtbuild.server import shm


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shm, "ROOT", tmp_path)
    return tmp_path


def mailbox(root: Path, pid: int | str, *, uid: int | None = None) -> Path:
    found = root / f"trtbuild_streams_{os.getuid() if uid is None else uid}_{pid}"
    found.mkdir()
    (found / "1_a.ring").write_bytes(b"x")
    return found


def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_killed_servers_mailbox_is_removed(root: Path) -> None:
    dead, empty = mailbox(root, gone()), root / f"trtbuild_streams_{os.getuid()}_{2**22 + 1}"
    empty.mkdir()
    assert set(shm.sweep_mailboxes()) == {str(dead), str(empty)}
    assert list(root.iterdir()) == []


def test_what_somebody_uses_or_owns_stays(root: Path) -> None:
    ours = mailbox(root, os.getpid())
    others = mailbox(root, gone(), uid=os.getuid() + 1)
    locked = mailbox(root, 2**22 + 2)
    with (locked / "1_a.ring").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # as a model in a container does, whose pids are not ours
        assert shm.sweep_mailboxes() == ()
    assert ours.is_dir() and others.is_dir() and locked.is_dir()


def test_a_mailbox_is_no_server(root: Path) -> None:
    mailbox(root, gone())
    (root / "trtbuild_ab12_region").touch()
    assert shm.orphans([]) == ("ab12",)


def test_without_shared_memory_there_is_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shm, "ROOT", root / "none")
    assert shm.sweep_mailboxes() == ()

"""Options on their way from preprocessing to postprocessing."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support import ensemble

mailbox = ensemble.module("llm_mailbox")


def folder(root: Path) -> Path:
    return root / f"trtbuild_streams_{os.getuid()}_{os.getppid()}"


def test_what_is_put_is_taken_by_whoever_has_the_same_parent(tmp_path: Path) -> None:
    sender, receiver = mailbox.Mailbox(tmp_path), mailbox.Mailbox(tmp_path)
    sender.put(7, "é")
    sender.put("../../a client's id", "two")
    assert receiver.take(7) == "é"
    assert receiver.take("../../a client's id") == "two"
    assert receiver.take("../../a client's id") is None
    assert [path.name for path in tmp_path.iterdir()] == [folder(tmp_path).name]


def test_what_does_not_fit_a_slot_gets_through_too(tmp_path: Path) -> None:
    sender, receiver = mailbox.Mailbox(tmp_path), mailbox.Mailbox(tmp_path)
    for key, text in ((1, "x" * 492), (2, "é" * 400), (3, "x" * 493), (4, "x" * 5000)):
        sender.put(key, text)
        assert receiver.take(key) == text
    assert receiver.take(5) is None


@pytest.mark.slow
def test_more_texts_than_slots_wait_without_loss(tmp_path: Path) -> None:
    sender, receiver = mailbox.Mailbox(tmp_path), mailbox.Mailbox(tmp_path)
    for key in range(1, 8192 + 100):
        sender.put(key, f"text {key}")
    assert len(list(folder(tmp_path).iterdir())) == 1 + 99, "only those beyond the slots are files"
    for key in range(1, 8192 + 100):
        assert receiver.take(key) == f"text {key}"
        assert receiver.take(key) is None
    sender.put(3 * 8192, "again in a slot")
    assert len(list(folder(tmp_path).iterdir())) == 1


_NO_ROOM = """
import pathlib, resource, sys
sys.path.insert(0, sys.argv[1])
from llm_mailbox import Mailbox
root = pathlib.Path(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
box = Mailbox(root)
box.put(1, "short")
try:
    box.put(2, "x" * 5000)
except OSError as error:
    print(type(error).__name__)
(folder,) = root.iterdir()
print(box.take(1), box.take(2), len(list(folder.iterdir())))
"""


def test_without_room_for_the_slots_there_are_files_and_no_halves_of_them(tmp_path: Path) -> None:
    """In a process of its own, with a limit that refuses what a full /dev/shm does."""
    command = [sys.executable, "-c", _NO_ROOM, str(ensemble.SHARED), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "OSError\nshort None 0\n"), done.stderr


def test_a_slot_whose_text_nobody_takes_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, receiver = mailbox.Mailbox(tmp_path), mailbox.Mailbox(tmp_path)
    sender.put(1, "the engine refused it")
    later = time.time() + 3601
    monkeypatch.setattr(mailbox.time, "time", lambda: later)
    sender.put(1 + 8192, "new")
    assert len(list(folder(tmp_path).iterdir())) == 1
    assert receiver.take(1) is None
    assert receiver.take(1 + 8192) == "new"


def test_writers_do_not_disturb_one_another(tmp_path: Path) -> None:
    """Two instances of preprocessing whose keys fall into the same slots."""
    one, two, receiver = (mailbox.Mailbox(tmp_path) for _ in range(3))
    for number in range(1, 300):
        one.put(number, f"one {number}")
        two.put(number + 8192 * 7, f"two {number}")
    for number in range(1, 300):
        assert receiver.take(number) == f"one {number}"
        assert receiver.take(number + 8192 * 7) == f"two {number}"


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    sender, receiver = mailbox.Mailbox(tmp_path), mailbox.Mailbox(tmp_path)
    sender.put(1, "one")
    assert receiver.take(1) == "one"
    receiver.close()
    sender.close()
    assert list(tmp_path.iterdir()) == []
    sender.put(2, "two")  # the directory is made again
    assert receiver.take(2) == "two"


def test_what_a_killed_server_left_is_swept(tmp_path: Path) -> None:
    dead = tmp_path / f"trtbuild_streams_{os.getuid()}_99999999"
    dead.mkdir()
    (dead / "1").write_text("old")
    (dead / "1_ab.ring").write_bytes(bytes(100))
    long_ago = time.time() - 7200
    os.utime(dead / "1", (long_ago, long_ago))
    living = tmp_path / f"trtbuild_streams_{os.getuid()}_99999998"
    living.mkdir()
    (living / "2").write_text("new")
    with (living / "2_cd.ring").open("wb") as ring:
        fcntl.flock(ring, fcntl.LOCK_SH)
        mailbox.Mailbox(tmp_path)
        assert list(dead.iterdir()) == []
        assert sorted(path.name for path in living.iterdir()) == ["2", "2_cd.ring"]
    os.utime(dead, (long_ago, long_ago))
    mailbox.Mailbox(tmp_path)
    assert not dead.exists()


def test_what_nobody_takes_is_swept_while_the_server_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine refused those requests: nobody asks for their options."""
    sender = mailbox.Mailbox(tmp_path)
    sender.put(1, "a ring")
    sender.put(2, "x" * 5000)
    (left,) = [path for path in folder(tmp_path).iterdir() if path.suffix != ".ring"]
    long_ago = time.time() - 7200
    os.utime(left, (long_ago, long_ago))
    sender.put(3, "y" * 5000)
    assert left.exists(), "not looked for with each request"
    later = time.monotonic() + 601
    monkeypatch.setattr(mailbox.time, "monotonic", lambda: later)
    sender.put(4, "z" * 5000)
    assert not left.exists()
    assert mailbox.Mailbox(tmp_path).take(1) == "a ring"
    assert mailbox.Mailbox(tmp_path).take(4) == "z" * 5000


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder(tmp_path).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ensemble.module("llm_settings").SettingsError, match="somebody else"):
        mailbox.Mailbox(tmp_path)


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    mailbox.Mailbox(tmp_path)
    assert folder(tmp_path).stat().st_mode & 0o777 == 0o700

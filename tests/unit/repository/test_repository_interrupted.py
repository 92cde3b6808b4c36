"""Writing a repository that is interrupted: full disks, failed renames, kills, two at a time."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.paths import TESTS
from support.repositories import MODEL, beside, entry
from support.trees import snapshot
from trtbuild import lockfile
from trtbuild.errors import BuildError
from trtbuild.lockfile import Lock
from trtbuild.repository import WeightFile, changes, write_model


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return tmp_path / "repo"


def test_a_full_disk_leaves_the_repository_as_it_was(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(repo, "m", [entry()], {}, MODEL)
    before = snapshot(repo)
    shard = tmp_path / "model.safetensors"
    shard.write_bytes(b"w" * 100)
    file = WeightFile("model.safetensors", shard, "f" * 64, 100, link=False)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("trtbuild.files.clone._reflink", lambda *_: False)
    monkeypatch.setattr("trtbuild.files.clone.os.copy_file_range", full)
    with pytest.raises(BuildError, match="is full"):
        write_model(repo, "m", [entry(weights=True)], {"": [file]}, MODEL)
    shard.unlink()
    assert snapshot(repo) == before
    assert beside(repo) == []


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of two megabytes."""
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mount)],
        check=False,
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("mounting is not allowed here")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def test_a_really_full_disk(tiny_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = tiny_disk / "repo"
    write_model(repo, "m", [entry()], {}, MODEL)
    before = snapshot(tiny_disk)
    monkeypatch.setattr("trtbuild.repository.write.require_space", lambda *_, **__: None)
    with pytest.raises(BuildError, match="is full"):
        write_model(repo, "m", [entry(text=b"x" * (4 << 20))], {}, MODEL)
    assert snapshot(tiny_disk) == before


def test_too_little_space_is_seen_beforehand(tiny_disk: Path) -> None:
    with pytest.raises(BuildError, match="not enough space") as caught:
        write_model(tiny_disk / "repo", "m", [entry(text=b"x" * (4 << 20))], {}, MODEL)
    assert "(--repo)" in (caught.value.fix or "")
    assert list(tiny_disk.iterdir()) == []


def test_a_mount_point_has_no_place_beside_it(tiny_disk: Path) -> None:
    """The repository is ``/models`` of a container: staged inside, still all or nothing."""
    seen: list[Path] = []

    def look(folder: Path, _lock: Lock) -> None:
        seen.append(folder.parent.parent)

    write_model(tiny_disk, "m", [entry()], {}, MODEL, check=look)
    write_model(tiny_disk, "n", [entry("n")], {}, MODEL, check=look)
    write_model(tiny_disk, "m", [entry(text=b"two")], {}, MODEL, check=look)
    assert seen == [tiny_disk, tiny_disk / "m", tiny_disk / "m"]
    assert (tiny_disk / "m/config.pbtxt").read_bytes() == b"two"
    assert sorted(path.name for path in tiny_disk.iterdir()) == ["m", "n", "trtbuild.lock"]
    assert sorted(path.name for path in (tiny_disk / "m").iterdir()) == ["1", "config.pbtxt"]


CRASH = """
import os, sys
from pathlib import Path
from trtbuild.repository import changes as t
from trtbuild.lockfile import Lock
from trtbuild.repository import write_model
from support.repositories import MODEL, entry
at, count = sys.argv[2], 0
place = getattr(t, at)
def die(*args):
    global count
    count += 1
    if count == int(sys.argv[3]):
        os._exit(9)
    return place(*args)
setattr(t, at, die)
write_model(Path(sys.argv[1]), "m", [entry("m", b"two"), entry("n", b"two")], {}, MODEL)
"""


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("at", ["_place", "_move"])
def test_a_kill_in_the_middle_of_the_renames_is_finished_by_the_next_run(
    repo: Path, at: str, count: int
) -> None:
    write_model(repo, "m", [entry("m"), entry("gone")], {}, MODEL)
    command = [sys.executable, "-c", CRASH, str(repo), at, str(count)]
    done = subprocess.run(command, check=False, cwd=TESTS, capture_output=True, text=True)
    assert done.returncode == 9, done.stderr
    write_model(repo, "other", [entry("other")], {}, MODEL)
    assert (repo / "m/config.pbtxt").read_bytes() == b"two"
    assert (repo / "n/config.pbtxt").read_bytes() == b"two"
    assert not (repo / "gone").exists()
    lock = lockfile.read(repo)
    assert lock.models["m"].directories == ("m", "n")
    assert set(lock.models) == {"m", "other"}
    assert beside(repo) == []


def test_a_rename_that_fails_is_undone(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(repo, "m", [entry("m"), entry("n")], {}, MODEL)
    before = snapshot(repo)
    place, calls = changes._place, []

    def fail(new: Path, *rest: object) -> None:
        calls.append(new.name)
        if new.name == "n":
            raise OSError(errno.EIO, "broken")
        place(new, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(changes, "_place", fail)
    with pytest.raises(BuildError):
        write_model(repo, "m", [entry("m", b"two"), entry("n", b"two")], {}, MODEL)
    assert calls == ["m", "n"]
    assert snapshot(repo) == before
    assert beside(repo) == []


WRITER = """
import sys, time
from pathlib import Path
from trtbuild.repository import write_model
from support.repositories import MODEL, entry
name = sys.argv[2]
def slow(*_):
    print("staged", flush=True)
    time.sleep(float(sys.argv[3]))
write_model(Path(sys.argv[1]), name, [entry(name)], {}, MODEL, check=slow)
"""


def writer(repo: Path, name: str, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(repo), name, str(seconds)],
        cwd=TESTS,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_two_conversions_at_a_time_both_arrive(repo: Path) -> None:
    writers = [writer(repo, name, 0.3) for name in ("a", "b", "c")]
    for process in writers:
        assert process.wait() == 0, process.communicate()
        process.communicate()
    assert set(lockfile.read(repo).models) == {"a", "b", "c"}
    assert beside(repo) == []


def test_ctrl_c_while_preparing_leaves_no_trace(repo: Path) -> None:
    write_model(repo, "m", [entry()], {}, MODEL)
    before = snapshot(repo)
    with writer(repo, "n", 3000) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "staged\n"
        assert beside(repo) != []
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=300)  # much less than it sleeps
        assert "KeyboardInterrupt" in complaint
    assert snapshot(repo) == before
    assert beside(repo) == []


def test_a_kill_while_preparing_is_swept_by_the_next_run(repo: Path) -> None:
    with writer(repo, "n", 3000) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        process.communicate()
    assert len(beside(repo)) == 1
    write_model(repo, "m", [entry()], {}, MODEL)
    assert beside(repo) == []
    assert set(lockfile.read(repo).models) == {"m"}

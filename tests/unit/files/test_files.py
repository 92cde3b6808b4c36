"""Cloning, staging and digests: nothing half-written, nothing read twice."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trtbuild import endings, files
from trtbuild.errors import BuildError
from trtbuild.files import clone, digests, staging
from trtbuild.progress import SILENT

OLD = time.time_ns() - 3_600_000_000_000
BIG = files.LINKABLE_BYTES


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    os.utime(path, ns=(OLD, OLD))
    return path


def test_a_large_file_shares_its_inode_or_its_extents(tmp_path: Path) -> None:
    source = write(tmp_path / "a", b"x" * BIG)
    method = files.clone_file(source, tmp_path / "b")
    assert method in ("reflink", "hardlink")
    assert (tmp_path / "b").read_bytes() == source.read_bytes()


def test_a_small_file_is_never_linked_so_that_editing_one_leaves_the_other(tmp_path: Path) -> None:
    source = write(tmp_path / "a", b"x" * (BIG - 1))
    assert files.clone_file(source, tmp_path / "b") != "hardlink"
    with (tmp_path / "b").open("r+b") as stream:
        stream.write(b"changed")
    assert source.read_bytes() == b"x" * (BIG - 1)


def test_without_link_a_rewrite_of_the_source_leaves_the_copy(tmp_path: Path) -> None:
    source = write(tmp_path / "a", b"x" * (2 * BIG))
    assert files.clone_file(source, tmp_path / "b", link=False) in ("reflink", "copy_file_range")
    with source.open("r+b") as stream:
        stream.write(b"y" * 10)
    assert (tmp_path / "b").read_bytes() == b"x" * (2 * BIG)


def test_a_link_of_the_download_cache_is_followed(tmp_path: Path) -> None:
    write(tmp_path / "blob", b"weights" * 400_000)
    (tmp_path / "snapshot").symlink_to("blob")
    files.clone_file(tmp_path / "snapshot", tmp_path / "b")
    assert not (tmp_path / "b").is_symlink()
    assert (tmp_path / "b").read_bytes() == b"weights" * 400_000


def test_the_copy_keeps_the_time_by_which_its_digest_is_known(tmp_path: Path) -> None:
    source = write(tmp_path / "a", b"abc")
    files.clone_file(source, tmp_path / "b")
    assert (tmp_path / "b").stat().st_mtime_ns == OLD


def sparse(path: Path, size: int) -> Path:
    with path.open("wb") as stream:
        stream.write(b"head")
        stream.seek(size // 2)
        stream.write(b"middle")
        stream.truncate(size)
    return path


def test_holes_stay_holes(tmp_path: Path) -> None:
    source = sparse(tmp_path / "a", 64 << 20)
    if source.stat().st_blocks * 512 > 32 << 20:
        pytest.skip("this file system has no holes")
    files.clone_file(source, tmp_path / "b", link=False)
    copy = tmp_path / "b"
    assert copy.stat().st_size == 64 << 20
    assert copy.stat().st_blocks * 512 < 1 << 20
    assert files.digest(copy) == hashlib.sha256(source.read_bytes()).hexdigest()


@pytest.mark.parametrize("refused", [errno.EXDEV, errno.ENOSYS])
def test_sendfile_takes_over_where_copy_file_range_will_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(refused, os.strerror(refused))

    monkeypatch.setattr(clone.os, "copy_file_range", refuse)
    monkeypatch.setattr(clone, "_reflink", lambda *_: False)
    source = sparse(tmp_path / "a", 5 << 20)
    assert files.clone_file(source, tmp_path / "b", link=False) == "sendfile"
    assert (tmp_path / "b").read_bytes() == source.read_bytes()


def test_across_file_systems_the_kernel_copies(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    source = write(tmp_path / "a", os.urandom(3 << 20))
    copy = other / f"trtbuild-test-{os.getpid()}"
    try:
        assert files.clone_file(source, copy) in ("copy_file_range", "sendfile")
        assert copy.read_bytes() == source.read_bytes()
    finally:
        copy.unlink(missing_ok=True)


def test_a_full_disk_leaves_no_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(clone.os, "copy_file_range", full)
    monkeypatch.setattr(clone, "_reflink", lambda *_: False)
    source = write(tmp_path / "a", b"x" * 5000)
    with pytest.raises(OSError, match="No space"):
        files.clone_file(source, tmp_path / "b", link=False)
    assert not (tmp_path / "b").exists()


def test_progress_counts_every_byte(tmp_path: Path) -> None:
    source = write(tmp_path / "a", b"x" * 100_000)
    seen: list[int] = []
    files.clone_file(source, tmp_path / "b", advance=seen.append)
    assert sum(seen) == 100_000


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    source = write(tmp_path / "a", b"new")
    (tmp_path / "b").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        files.clone_file(source, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"old"


def test_too_little_space_is_told_before_writing(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="not enough space") as caught:
        files.require_space(tmp_path / "not" / "yet", 1 << 60)
    assert "--" not in (caught.value.fix or ""), "options are the command's to name"


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (errno.ENOSPC, "is full"),
        (errno.EDQUOT, "is full"),
        (errno.EROFS, "cannot be written to"),
        (errno.EACCES, "cannot be written to"),
        (errno.EMFILE, "too many files are open"),
        (errno.EIO, "failed"),
    ],
)
def test_what_a_disk_refuses_is_a_build_error(tmp_path: Path, code: int, what: str) -> None:
    with pytest.raises(BuildError, match=what) as caught, files.disk_trouble(tmp_path):
        raise OSError(code, os.strerror(code), "there")
    assert caught.value.where == "there"
    assert caught.value.exit_code == 5


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "made"
    with files.staged_dir(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
    assert (target / "a").read_text() == "1"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_appears_behind_a_link(tmp_path: Path, there: bool) -> None:
    """A link often leads to the disk that has the room."""
    disk, link = tmp_path / "disk", tmp_path / "made"
    disk.mkdir()
    link.symlink_to(disk / "made")
    if there:
        (disk / "made").mkdir()
    with files.staged_dir(link) as folder:
        assert folder.parent.parent == disk
        (folder / "a").write_text("1")
    assert link.is_symlink()
    assert [path.name for path in (disk / "made").iterdir()] == ["a"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_folder_leaves_the_old_one(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "made"
    target.mkdir()
    (target / "old").write_text("kept")
    with pytest.raises(error), files.staged_dir(target) as folder:
        (folder / "new").write_text("lost")
        raise error
    assert [path.name for path in target.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [target]


def test_the_new_folder_replaces_the_old_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "made"
    target.mkdir()
    (target / "old").write_text("gone")
    with files.staged_dir(target) as folder:
        (folder / "new").write_text("here")
    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_exchanging_without_the_system_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "_exchange_at_once", lambda *_: False)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "of-a").touch()
    files.exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / "of-a").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


ABANDON = """
import os, sys
from pathlib import Path
from trtbuild.files import scratch
with scratch(Path(sys.argv[1]), "repo") as folder:
    (folder / "half").touch()
    print(folder, flush=True)
    sys.stdin.read() if len(sys.argv) > 2 else os._exit(9)
"""


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", ABANDON, str(tmp_path)], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    assert len(files.sweep(tmp_path, "repo")) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_a_living_process_prepares_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ABANDON, str(tmp_path), "wait"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as living:
        assert living.stdout is not None
        folder = Path(living.stdout.readline().strip())
        assert files.sweep(tmp_path, "repo") == ()
        assert folder.is_dir()
        living.communicate("")
    assert not folder.exists()


def test_sweeping_takes_no_other_repository_for_its_own(tmp_path: Path) -> None:
    (tmp_path / ".other.trtbuild-12345678").mkdir()
    (tmp_path / ".re*o.trtbuild-12345678").mkdir()
    assert files.sweep(tmp_path, "repo") == ()
    assert files.sweep(tmp_path, "re*o") == (tmp_path / ".re*o.trtbuild-12345678",)


def test_a_directory_that_another_process_takes_for_abandoned_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, taken = staging._try_lock, []

    def removed_before(folder: Path) -> int:
        if not taken:
            taken.append(folder)
            folder.rmdir()
        return lock(folder)

    monkeypatch.setattr(staging, "_try_lock", removed_before)
    with files.scratch(tmp_path, "repo") as folder:
        assert folder.is_dir() and folder not in taken


def test_a_link_to_itself_cannot_be_replaced_by_a_directory(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError), files.staged_dir(tmp_path / "loop" / "x"):
        pass


def test_ctrl_c_is_not_lost_if_a_critical_part_fails() -> None:
    def fail() -> None:
        with endings.uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            raise OSError("the disk is full")

    with pytest.raises(KeyboardInterrupt):
        fail()


def test_ctrl_c_waits_for_the_end_of_a_critical_part() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), endings.uninterrupted():
        os.kill(os.getpid(), signal.SIGINT)
        done.append(True)
    assert done


def test_what_else_unwinds_waits_too_and_what_is_ignored_stays_so() -> None:
    class Ended(BaseException):
        pass

    def end(*_: object) -> None:
        raise Ended

    before = [signal.signal(signal.SIGTERM, end), signal.signal(signal.SIGINT, signal.SIG_IGN)]
    done = []
    try:
        with pytest.raises(Ended), endings.uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            done.append(True)
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
    assert done


def test_a_file_never_replaces_a_device_or_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to(os.devnull)
    for name in ("pipe", "null"):
        with pytest.raises(OSError, match="not a regular file"):
            files.atomic_write(tmp_path / name, b"x")
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "null").is_symlink()


def test_atomic_write_leaves_the_old_file_on_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    files.atomic_write(path, b"old")

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(staging.os, "fsync", broken)
    with pytest.raises(OSError, match="broken"):
        files.atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def cache(cache_dir: Path) -> Path:
    """The file that remembers digests."""
    return cache_dir / "digests" / "sha256.json"


def test_a_digest_is_computed_once(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a", b"abc")
    wanted = hashlib.sha256(b"abc").hexdigest()
    assert files.digest(path) == wanted
    assert wanted in json.loads(cache.read_bytes()).values()
    monkeypatch.setattr("trtbuild.files.digests._sha256", lambda *_: pytest.fail("read again"))
    assert files.digest(path) == wanted


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "a", b"abc")
    files.digest(path)
    path.write_bytes(b"abd")
    assert files.digest(path) == hashlib.sha256(b"abd").hexdigest()


def test_two_writes_within_one_tick_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    stamp = path.stat().st_mtime_ns
    monkeypatch.setattr(time, "time_ns", lambda: stamp + 1_000_000)  # however slow the machine
    assert files.digest(path) == hashlib.sha256(b"abc").hexdigest()
    path.write_bytes(b"abd")
    os.utime(path, ns=(stamp, stamp))
    assert files.digest(path) == hashlib.sha256(b"abd").hexdigest()


def test_the_digest_of_a_file_that_changes_meanwhile_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a", b"x" * 100)
    old = path.stat().st_mtime_ns
    add = digests._Counter.add

    def written_over(self: digests._Counter, count: int) -> None:
        add(self, count)
        path.write_bytes(b"y" * 100)
        os.utime(path, ns=(old - 5, old - 5))  # as rsync and tar set it

    with monkeypatch.context() as patched:
        patched.setattr(digests._Counter, "add", written_over)
        files.digest(path)
    assert files.digest(path) == hashlib.sha256(b"y" * 100).hexdigest()


def test_fresh_reads_a_file_whose_stamp_lies(tmp_path: Path) -> None:
    path = write(tmp_path / "a", b"abc")
    files.digest(path)
    write(path, b"abd")
    assert files.digest(path) == hashlib.sha256(b"abc").hexdigest()
    assert files.digest(path, fresh=True) == hashlib.sha256(b"abd").hexdigest()


def test_a_damaged_cache_costs_time_only(tmp_path: Path, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    path = write(tmp_path / "a", b"abc")
    for damage in (b"{", b"[]", b'{"x": 1}', b"\xff", b"[" * 100_000):
        cache.write_bytes(damage)
        assert files.digest(path) == hashlib.sha256(b"abc").hexdigest()


def test_an_unwritable_cache_is_no_error(tmp_path: Path, cache: Path) -> None:
    cache.parent.parent.parent.mkdir()
    cache.parent.parent.write_text("a file where the folder should be")
    assert files.digest(write(tmp_path / "a", b"abc")) == hashlib.sha256(b"abc").hexdigest()


def test_many_files_in_the_order_of_their_keys(tmp_path: Path) -> None:
    paths = {str(n): write(tmp_path / str(n), bytes([n]) * 3000) for n in range(20)}
    found = files.digest_all(paths, SILENT)
    assert found == {
        key: hashlib.sha256(path.read_bytes()).hexdigest() for key, path in paths.items()
    }

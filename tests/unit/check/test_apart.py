"""Work in a child process: hostile files end it, and one child serves a whole validation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trtbuild import check
from trtbuild.check import apart as module
from trtbuild.check.apart import apart, one_child


def number(_: object = None) -> int:
    return os.getpid()


def die() -> None:
    os.abort()


def fail() -> None:
    raise ValueError


def spin() -> None:
    while True:
        pass


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_one_child_serves_until_the_end() -> None:
    with one_child():
        pids = {apart(number, index) for index in range(3)}
    assert len(pids) == 1
    assert os.getpid() not in pids
    with pytest.raises(ProcessLookupError):
        os.kill(pids.pop(), 0)


@pytest.mark.parametrize("wrong", [die, fail])
def test_what_ends_or_fails_has_no_answer_and_the_next_has(wrong: object) -> None:
    with one_child():
        assert apart(number) != os.getpid()
        assert apart(wrong) is None
        assert isinstance(apart(number), int)


def test_what_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.05)
    assert apart(spin) is None


def test_it_holds_no_file_of_its_parent_open(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w"), one_child():
        assert apart(open_files) <= 6  # the three standard ones, two pipes, the listing


def test_a_warm_up_of_any_size_is_data(tmp_path: Path) -> None:
    """More than is read of a file that should be small."""
    config = (
        'backend: "identity" max_batch_size: 0 '
        'input [ { name: "IN" data_type: TYPE_UINT8 dims: [ 100000000 ] } ] '
        'output [ { name: "OUT" data_type: TYPE_UINT8 dims: [ 100000000 ] } ] '
        'model_warmup [ { name: "w" batch_size: 1 inputs { key: "IN" value { '
        'data_type: TYPE_UINT8 dims: [ 100000000 ] input_data_file: "data" } } } ]'
    )
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "warmup").mkdir()
    (tmp_path / "m" / "config.pbtxt").write_text(config)
    data = tmp_path / "m" / "warmup" / "data"
    data.touch()
    os.truncate(data, 100_000_000)
    assert not [one for one in check.validate(tmp_path).findings if one.rule == "TRT342"]
    os.truncate(data, 99_999_999)
    (found,) = [one for one in check.validate(tmp_path).findings if one.rule == "TRT342"]
    assert found.message == ("warmup/data has 99999999 bytes, but the input 'IN' needs 100000000")


def test_without_fork_the_work_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")  # as on Windows
    assert apart(number) == os.getpid()
    assert apart(fail) is None


def test_importing_it_needs_nothing_that_only_unix_has() -> None:
    code = "import sys; sys.modules['resource'] = None; import trtbuild.check"
    subprocess.run([sys.executable, "-c", code], check=True)

"""``trtbuild convert`` against limits: a full disk, little memory, Ctrl-C at any moment."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.checkpoints import (
    llama_config,
    llama_shapes,
    make_llama,
    write_json,
    write_sparse,
    write_tokenizer,
)
from support.command_line import trtbuild
from support.conversions import run
from support.trees import snapshot


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return make_llama(tmp_path / "my-llama", sharded=True)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return tmp_path / "repo"


LIMIT = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
from trtbuild.cli.app import main
sys.argv = ["trtbuild", *sys.argv[1:]]
main()
"""


@pytest.mark.slow
def test_a_file_size_limit_is_a_full_disk(tmp_path: Path, repo: Path) -> None:
    llama = make_llama(tmp_path / "big", hidden=512, vocab=1024)
    done = subprocess.run(
        [sys.executable, "-c", LIMIT, "convert", str(llama), "--repo", str(repo)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    assert "is full" in done.stderr
    assert not repo.exists()


SLOW = """
import sys, time
from trtbuild.files import digests
from trtbuild.pipeline import convert
from trtbuild.repository import write
def slow(where, name):
    real = getattr(where, name)
    def call(*args, **options):
        print("now", flush=True)
        time.sleep(0.2)
        result = real(*args, **options)
        time.sleep(3000)
        return result
    setattr(where, name, call)
where, name = sys.argv[1].rsplit(".", 1)
slow({"digests": digests, "convert": convert, "write": write}[where], name)
from trtbuild.cli.app import main
sys.argv = ["trtbuild", *sys.argv[2:]]
main()
"""


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("convert.open_source", marks=pytest.mark.slow),
        pytest.param("convert.digested_sources", marks=pytest.mark.slow),
        "write.clone_file",
        pytest.param("write.write_synced", marks=pytest.mark.slow),
        pytest.param("convert.require_valid", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("wait", [0.0, pytest.param(0.5, marks=pytest.mark.slow)])
def test_ctrl_c_at_any_moment(llama: Path, repo: Path, moment: str, wait: float) -> None:
    run(llama, repo)
    before = snapshot(repo)
    beside = sorted(path.name for path in repo.parent.iterdir())
    other = make_llama(llama.parent / "other", seed=3)
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, moment, "convert", str(other), "--repo", str(repo)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"
        time.sleep(wait)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert snapshot(repo) == before
    left = sorted(path.name for path in repo.parent.iterdir() if path != other)
    assert left == beside


MEMORY = """
import sys
from pathlib import Path
from trtbuild.cli.app import main
sys.argv = ["trtbuild", *sys.argv[1:]]
try:
    main()
finally:  # not ru_maxrss, which begins with the peak of the process that started this one
    status = Path("/proc/self/status").read_text()
    print("peak", status.partition("VmHWM:")[2].split()[0], file=sys.stderr)
"""


def eight_gigabytes(folder: Path) -> Path:
    """A checkpoint whose one file has 8 GiB, none of it on disk."""
    folder.mkdir()
    config = llama_config(layers=1, hidden=4096, heads=32, kv_heads=32, vocab=250_000)
    write_json(folder / "config.json", config)
    write_tokenizer(folder)
    write_sparse(folder / "model.safetensors", llama_shapes(config), "F32")
    assert (folder / "model.safetensors").stat().st_size > 8 << 30
    return folder


DIGESTING = """
import os, signal, sys
from trtbuild.files import digests
add, done = digests._Counter.add, [0]
def told(self, count):
    add(self, count)
    if not done[0]:
        os.kill(os.getpid(), signal.SIGINT)
    done[0] = self.done
digests._Counter.add = told
from trtbuild.cli.app import main
sys.argv = ["trtbuild", *sys.argv[1:]]
try:
    main()
finally:
    print(done[0])
"""


@pytest.mark.slow
def test_ctrl_c_does_not_wait_for_the_digest_of_a_huge_file(tmp_path: Path, repo: Path) -> None:
    llama = eight_gigabytes(tmp_path / "huge")
    done = subprocess.run(
        [sys.executable, "-c", DIGESTING, "convert", str(llama), "--repo", str(repo)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, repo.exists()) == (130, False), done.stderr
    assert 0 < int(done.stdout.split()[-1]) < 8 << 30


@pytest.mark.slow
def test_eight_gigabytes_pass_through_no_memory(tmp_path: Path, repo: Path) -> None:
    llama = eight_gigabytes(tmp_path / "huge")
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, "convert", str(llama), "--repo", str(repo)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    peak = int(re.findall(r"peak (\d+)", done.stderr)[-1])
    assert peak < 300_000, f"{peak} kB"
    copy = repo / "huge/1/weights/model.safetensors"
    assert copy.stat().st_blocks * 512 < 16 << 20
    again = trtbuild("convert", llama, "--repo", repo)
    assert (again.returncode, "up to date" in again.stdout) == (0, True)

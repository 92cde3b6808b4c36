"""The runtime's installation: what stops it, what it leaves, what pip says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from support.programs import write_program
from support.runtimes import GIB, fake_runtime, state
from trtbuild.errors import BuildError, ServerError
from trtbuild.progress import SILENT
from trtbuild.server import runtime
from trtbuild.server.runtime import facts, installation, pip
from trtbuild.server.runtime.facts import Interpreter


@pytest.fixture
def interpreter() -> Interpreter:
    return facts.find_interpreter()


# --- installing -----------------------------------------------------------------------------


def test_too_little_disk_is_told_before_anything_is_made(
    cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil._ntuple_diskusage(10 * GIB, 9 * GIB, GIB)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(BuildError, match=r"needs 4\.0 GiB, but 1\.0 GiB are free") as error:
        runtime.install("full")
    assert error.value.exit_code == 5
    assert "TRTBUILD_CACHE_DIR" in error.value.fix
    assert list((cache_dir / "runtime").iterdir()) == []


@pytest.mark.slow
def test_an_index_without_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interpreter: Interpreter
) -> None:
    """The real pip in a real venv, with nothing to install from."""
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "elsewhere"))
    with pytest.raises(BuildError, match="lacks a pinned package") as error:
        runtime.install("light")
    assert error.value.exit_code == 5
    assert "No matching distribution found" in error.value.details[0]
    log = Path(error.value.where)
    assert "pip install" in log.read_text()
    assert state().state == "incomplete"
    assert not (tmp_path / "elsewhere").exists()


def test_an_interrupted_installation_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, interpreter: Interpreter
) -> None:
    def interrupted(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    root = facts.runtime_root("light", interpreter.tag)
    monkeypatch.setattr(installation, "_create_venv", lambda *_: None)  # takes seconds
    with monkeypatch.context() as patch:
        patch.setattr(pip, "install", interrupted)
        with pytest.raises(KeyboardInterrupt):
            runtime.install("light")
    assert state().state == "incomplete"
    (root / "rubbish").touch()

    def finished(*_args: object, **_options: object) -> None:
        fake_runtime(interpreter)

    monkeypatch.setattr(pip, "install", finished)
    assert runtime.install("light").root == root
    assert state().state == "ready"
    assert not (root / "rubbish").exists()


def test_two_processes_install_once(
    monkeypatch: pytest.MonkeyPatch, interpreter: Interpreter
) -> None:
    made: list[str] = []

    def make(variant: facts.Variant, *_args: object) -> None:
        made.append(variant)
        time.sleep(0.3)
        fake_runtime(interpreter)

    monkeypatch.setattr(installation, "_make", make)
    threads = [threading.Thread(target=runtime.install, args=("light",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == ["light"]


def test_a_light_one_is_enough_without_vllm(
    monkeypatch: pytest.MonkeyPatch, interpreter: Interpreter
) -> None:
    fake_runtime(interpreter)
    assert runtime.ensure(vllm=False).variant == "light"
    fake_runtime(interpreter, "full")
    assert runtime.ensure(vllm=False).variant == "full"
    assert runtime.ensure().variant == "full"


def test_all_runtimes_are_removed(cache_dir: Path, interpreter: Interpreter) -> None:
    fake_runtime(interpreter)
    (cache_dir / "runtime" / "0123456789ab-cp311").mkdir()
    assert len(runtime.remove()) == 2
    assert list((cache_dir / "runtime").iterdir()) == []
    assert runtime.remove() == ()


def test_a_runtime_in_use_is_not_removed(interpreter: Interpreter) -> None:
    found = fake_runtime(interpreter)
    found.tritonserver.unlink()
    shutil.copy("/bin/sleep", found.tritonserver)
    with subprocess.Popen([found.tritonserver, "60"]) as server:
        with pytest.raises(ServerError, match=f"pid {server.pid}"):
            runtime.remove()
        with pytest.raises(ServerError, match="running from this runtime"):
            runtime.install("light", force=True)
        server.kill()
    assert found.root.exists()


# --- pip ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "part", "fix"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device", "disk", "CACHE_DIR"),
        ("Failed to establish a new connection: [Errno 111]", "did not answer", "PIP_INDEX_URL"),
        ("SSLError(SSLCertVerificationError(1, 'x'))", "certificate", "PIP_CERT"),
        ("ERROR: No matching distribution found for torch==2.13.0", "torch", "--torch-index"),
        ("ERROR: something new", "something new", "read the log"),
    ],
)
def test_what_pip_says_gets_a_fix(tmp_path: Path, said: str, part: str, fix: str) -> None:
    output = pip.PipOutput(1, SILENT)
    for line in ["Collecting x", said, "WARNING: You are using pip 23", ""]:
        output.line(line)
    error = pip.failure("\n".join(output.tail), output.reason(), tmp_path / "log")
    assert part in error.what
    assert fix in error.fix
    assert error.where == str(tmp_path / "log")


def test_packages_are_counted_once() -> None:
    seen: list[tuple[int, int]] = []

    class Recorder:
        def step(self, text: str) -> None: ...

        def advance(self, done: int, total: int, unit: str = "B") -> None:
            seen.append((done, total))

    output = pip.PipOutput(3, Recorder())
    for line in ["Collecting a==1", "  Downloading a-1.whl", "Collecting b==2", "Collecting a==1"]:
        output.line(line)
    assert seen == [(1, 3), (2, 3), (2, 3)]


def report(*requires: str) -> str:
    metadata = {"name": "torch", "version": "2.13.0", "requires_dist": list(requires)}
    return "pip's own words\n" + json.dumps({"install": [{"metadata": metadata}]})


def test_a_cuda_build_of_torch_is_recognised() -> None:
    assert pip.brings_cuda(report("filelock", "nvidia-cublas-cu13==13.0; platform_system=='Linux'"))
    assert not pip.brings_cuda(report("filelock", "sympy>=1.13"))
    assert not pip.brings_cuda("no report")


@pytest.mark.parametrize(
    ("requires", "index", "variable", "expected"),
    [
        (["filelock"], "", "", ["torch==2.13.0"]),
        (["nvidia-nccl"], "", "", ["--index-url", pip.CPU_TORCH_INDEX, "torch==2.13.0"]),
        (["nvidia-nccl"], "http://mine", "", ["--index-url", "http://mine", "torch==2.13.0"]),
        (["nvidia-nccl"], "", "http://env", ["--index-url", "http://env", "torch==2.13.0"]),
    ],
)
def test_where_torch_comes_from(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    requires: list[str],
    index: str,
    variable: str,
    expected: list[str],
) -> None:
    monkeypatch.setenv("TRTBUILD_TORCH_INDEX", variable)
    python = write_program(tmp_path, "python", f"print({report(*requires)!r})")
    assert pip.torch_arguments(python, "torch==2.13.0", index, SILENT) == expected

"""``serve``, ``status``, ``logs`` and ``stop`` with a light Python model on the real server."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.command_line import trtbuild
from support.judge import compile_null_backend
from support.waiting import runs, unused_shm, wait_for
from trtbuild import pbtxt

ECHO = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        inputs = [pb_utils.get_input_tensor_by_name(r, "TEXT").as_numpy() for r in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("SAID", text)]) for text in inputs]
"""
BROKEN = (
    ECHO
    + """
    def initialize(self, args):
        raise ValueError("the lookup table zürich.bin is missing")
"""
)


def write_echo(repo: Path, name: str, code: str = ECHO) -> Path:
    config = pbtxt.model_config(name=name, backend="python", max_batch_size=8)
    config.input.add(name="TEXT", data_type=pbtxt.data_type("TYPE_STRING"), dims=[1])
    config.output.add(name="SAID", data_type=pbtxt.data_type("TYPE_STRING"), dims=[1])
    group = config.instance_group.add(count=1)
    group.kind = group.KIND_CPU
    (repo / name / "1").mkdir(parents=True)
    (repo / name / "config.pbtxt").write_text(pbtxt.render(config), encoding="utf-8")
    (repo / name / "1" / "model.py").write_text(code, encoding="utf-8")
    return repo


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return write_echo(tmp_path / "models", "echo")


@pytest.fixture(autouse=True)
def nothing_runs_on() -> Iterator[None]:
    """Whatever still runs at the test's end is stopped."""
    yield
    trtbuild("stop", "--all")


def serve(repo: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """A process of its own: the server is started to outlive it."""
    command = [sys.executable, "-m", "trtbuild", "serve", str(repo), "--mode", "embedded"]
    return subprocess.run(
        [*command, "--detach", *(more or ("--port", "auto"))],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def status() -> list[dict[str, Any]]:
    done = trtbuild("status", "--json")
    assert done.returncode == 0, done.stderr
    servers: list[dict[str, Any]] = json.loads(done.stdout)
    return servers


_OTHERS: set[Path] = set()
"""Shared memory that was there before the test: of a killed server of somebody else's."""


@pytest.fixture(autouse=True)
def look_at_what_is_there() -> None:
    """Fill ``_OTHERS``."""
    _OTHERS.clear()
    _OTHERS.update(unused_shm())


def leftovers(root: Path) -> set[str]:
    """Processes that have ``root`` in their command line, new shared memory that nobody uses."""
    names = set(map(str, unused_shm() - _OTHERS))
    for found in psutil.process_iter(["name", "cmdline"]):
        if (found.info["name"] or "").startswith("triton"):
            line = " ".join(found.info["cmdline"] or ())
            names |= {f"{found.info['name']} {found.pid}"} if str(root) in line else set()
    return names


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
def test_a_model_that_brings_its_backend_is_served(repo: Path) -> None:
    (repo / "own" / "1").mkdir(parents=True)
    config = pbtxt.model_config(name="own", backend="special", max_batch_size=8)
    config.input.add(name="X", data_type=pbtxt.data_type("TYPE_INT32"), dims=[1])
    config.output.add(name="Y", data_type=pbtxt.data_type("TYPE_INT32"), dims=[1])
    group = config.instance_group.add(count=1)
    group.kind = group.KIND_CPU
    (repo / "own" / "config.pbtxt").write_text(pbtxt.render(config), encoding="utf-8")
    compile_null_backend(repo / "own").rename(repo / "own" / "libtriton_special.so")
    valid = trtbuild("validate", str(repo))
    assert valid.returncode == 0, valid.stdout
    started = serve(repo)
    assert started.returncode == 0, started.stderr
    (server,) = status()
    assert server["models"] == ["echo", "own"]


def test_a_server_lives_and_leaves_nothing(repo: Path) -> None:
    started = serve(repo)
    assert started.returncode == 0, started.stderr
    (server,) = status()
    assert server["models"] == ["echo"]
    assert leftovers(repo)
    log = trtbuild("logs", server["id"])
    assert "echo" in log.stdout + log.stderr
    stopped = trtbuild("stop", server["id"])
    assert stopped.returncode == 0, stopped.stderr
    assert status() == []
    assert leftovers(repo) == set()


def test_an_llm_question_to_another_model_is_answered(repo: Path) -> None:
    assert serve(repo).returncode == 0
    asked = trtbuild("infer", "echo", "-p", "hello")
    assert asked.returncode in (2, 7)
    assert "Traceback" not in asked.stderr
    missing = trtbuild("infer", "ecko", "-p", "hello", "--url", grpc_url())
    assert missing.returncode == 7
    assert "ecko" in missing.stderr
    assert "fix:" in missing.stderr


def grpc_url() -> str:
    return f"127.0.0.1:{status()[0]['grpc_port']}"


def test_a_model_that_cannot_start_is_quoted(tmp_path: Path) -> None:
    repo = write_echo(tmp_path / "bad", "echo", BROKEN)
    done = serve(repo)
    assert done.returncode == 7
    assert "the lookup table zürich.bin is missing" in done.stderr
    assert "Traceback" not in done.stderr
    assert "fix:" in done.stderr
    assert status() == []
    assert leftovers(repo) == set()


def test_a_taken_port_is_named(repo: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = serve(repo, "--http-port", str(port))
    assert done.returncode == 7
    assert str(port) in done.stderr
    assert "--port auto" in done.stderr


def test_an_invalid_repository_is_not_started(repo: Path) -> None:
    (repo / "stray").mkdir()
    done = serve(repo)
    assert done.returncode == 6
    assert "stray" in done.stderr


def test_a_killed_server_is_known_and_swept(repo: Path) -> None:
    assert serve(repo).returncode == 0
    (server,) = status()
    os.kill(server["pid"], signal.SIGKILL)
    wait_for(lambda: not runs(server["pid"]))
    assert [s["health"] for s in status()] == ["dead"]
    trtbuild("stop", "--all")
    assert status() == []
    assert leftovers(repo) == set()


def foreground(repo: Path) -> subprocess.Popen[str]:
    """``trtbuild serve`` without ``--detach``, ready."""
    command = [sys.executable, "-m", "trtbuild", "serve", str(repo), "--mode", "embedded"]
    started = subprocess.Popen(
        [*command, "--port", "auto"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    wait_for(
        lambda: started.poll() is not None or [s for s in status() if s["health"] == "ready"], 300
    )
    assert started.poll() is None, started.communicate()[0]
    return started


def test_ctrl_c_in_the_foreground_stops_it(repo: Path) -> None:
    with foreground(repo) as serving:
        wait_for(lambda: guarded(serving.pid))
        serving.send_signal(signal.SIGINT)
        said, _ = serving.communicate(timeout=300)
    assert serving.returncode == 0, said
    assert "Traceback" not in said
    assert status() == []
    assert leftovers(repo) == set()


def guarded(pid: int) -> bool:
    """Whether the guard of a running server is there; that of a start has a deadline."""
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.Error):  # it has just ended
            words = child.cmdline()
            if "trtbuild-guard" in words and "--timeout" not in words:
                return True
    return False


def test_a_server_in_the_foreground_ends_with_a_killed_command(repo: Path) -> None:
    with foreground(repo) as serving:
        wait_for(lambda: guarded(serving.pid))
        serving.kill()
    wait_for(lambda: status() == [])
    assert leftovers(repo) == set()

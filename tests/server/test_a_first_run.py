"""The first ten minutes: `trtbuild up` on a real model. Runs first, before other servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from support.checkpoints import make_tiny
from support.waiting import runs, wait_for_end

QUESTION = "The capital of France is"


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    env = {**os.environ, "TRTBUILD_STATE_DIR": str(tmp_path / "state")}
    yield env
    trtbuild("stop", "--all", env=env, cwd=tmp_path)


def trtbuild(*words: str, env: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trtbuild", *words]
    return subprocess.run(
        command, env=env, cwd=cwd, capture_output=True, text=True, timeout=600, check=False
    )


def family(pid: int) -> list[psutil.Process]:
    """What runs below a server, and the server."""
    server = psutil.Process(pid)
    return [server, *server.children(recursive=True)]


def test_one_command_answers_and_leaves_nothing(tmp_path: Path, env: dict[str, str]) -> None:
    done = trtbuild(
        "up", "sample:smollm2", "--prompt", QUESTION, "--port", "auto", "--once",
        env=env, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{QUESTION} Paris.")
    assert "first text after" in done.stdout + done.stderr
    assert (tmp_path / "model_repository" / "smollm2" / "config.pbtxt").is_file()
    assert trtbuild("status", "--json", env=env, cwd=tmp_path).stdout.strip() == "[]"


def test_a_gateway_beside_it_and_an_engine_that_does_not_outlive_a_killed_server(
    tmp_path: Path, env: dict[str, str]
) -> None:
    done = trtbuild(
        "up", str(make_tiny(tmp_path / "tiny")), "--prompt", QUESTION, "--port", "auto",
        "--detach", "--json", "--gateway", "--gateway-port", "0",
        "--env", "TRTBUILD_ENFORCE_EAGER=1", env=env, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    (gateway,) = [event for event in said if event["event"] == "gateway"]
    asked = {"model": "tiny", "prompt": "Hi", "max_tokens": 2}
    answer = httpx.post(f"{gateway['url']}/completions", json=asked, timeout=180, trust_env=False)
    assert answer.json()["usage"]["completion_tokens"] == 2
    (server,) = json.loads(trtbuild("status", "--json", env=env, cwd=tmp_path).stdout)
    running = family(server["pid"])
    front = psutil.Process(gateway["pid"])
    assert any("EngineCore" in process.name() for process in running)
    os.kill(server["pid"], signal.SIGKILL)
    wait_for_end(running)
    trtbuild("stop", "--all", env=env, cwd=tmp_path)
    assert not runs(front)

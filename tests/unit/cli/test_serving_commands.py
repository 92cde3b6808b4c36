"""The serving commands: what they print, and the exit code of each mistake."""

from __future__ import annotations

import json
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from support.command_line import trtbuild
from support.models import write_python_model
from support.programs import write_docker, write_tritonserver
from support.waiting import wait_for
from trtbuild.server import ServerHandle

HELP = ("serve", "up", "status", "logs", "stop", "runtime install", "runtime status")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


@pytest.mark.parametrize("command", HELP)
def test_every_command_shows_examples(command: str) -> None:
    done = trtbuild(*command.split(), "--help")
    assert done.returncode == 0
    assert f"trtbuild {command}" in done.stdout


def test_a_dry_run_prints_one_line_and_starts_nothing(tmp_path: Path, programs: Path) -> None:
    write_docker(programs)
    repo = write_python_model(tmp_path / "models", "m")
    done = trtbuild("serve", str(repo), "--mode", "docker", "--image", "i", "--dry-run")
    assert done.returncode == 0
    words = shlex.split(done.stdout)
    assert words[:3] == ["docker", "run", "--rm"]
    assert done.stdout.count("\n") == 1
    assert '"run"' not in (programs / "calls.jsonl").read_text()


def test_a_dry_run_as_json_is_json_only(tmp_path: Path, programs: Path) -> None:
    write_tritonserver(programs)
    repo = write_python_model(tmp_path / "models", "m")
    done = trtbuild("serve", str(repo), "--dry-run", "--json", "--port", "9000")
    found = json.loads(done.stdout)
    assert found["mode"] == "local"
    assert "--http-port=9000" in found["command"]


@pytest.mark.parametrize(
    ("args", "code", "part"),
    [
        (["--mode", "cloud"], 2, "unknown mode 'cloud'"),
        (["--port", "http"], 2, "'http' is not a port"),
        (["--env", "NOVALUE"], 2, "'NOVALUE' is not KEY=VALUE"),
        (["--env", "9X=1"], 2, "'9X=1' is not KEY=VALUE"),
        (["--mode", "docker"], 7, "no response from docker"),
        (["--mode", "docker", "--dry-run"], 2, "--image"),
    ],
)
def test_mistakes(tmp_path: Path, programs: Path, args: list[str], code: int, part: str) -> None:
    write_docker(programs, answers=False)
    repo = write_python_model(tmp_path / "models", "m")
    done = trtbuild("serve", str(repo), *args)
    assert done.returncode == code
    assert part in done.stderr
    assert "fix:" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_repository_is_a_usage_error(tmp_path: Path) -> None:
    done = trtbuild("serve", str(tmp_path / "none"))
    assert done.returncode == 2
    assert "trtbuild convert" in done.stderr


def test_a_taken_port_exits_with_7(tmp_path: Path, programs: Path) -> None:
    write_tritonserver(programs)
    repo = write_python_model(tmp_path / "models", "m")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = trtbuild("serve", str(repo), "--http-port", str(port), "--json")
    assert done.returncode == 7
    assert f"HTTP port {port} is taken by" in json.loads(done.stdout)["what"]


def test_a_gateway_that_cannot_be_is_told_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = ("up", "sample:smollm2", "--gateway")
    done = trtbuild(*asked, "--once")
    assert (done.returncode, "leave out one of them" in done.stderr) == (2, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = trtbuild(*asked, "--gateway-port", port)
    assert (done.returncode, f"port {port} is taken by" in done.stderr) == (2, True)
    monkeypatch.setattr("trtbuild.pipeline.gateway.points", lambda _: [])
    done = trtbuild(*asked)
    assert (done.returncode, "pip install trtbuild-gateway" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("moment", "code"),
    [("cli.up._other_task", 130), ("cli.up._start_gateway", 130), ("cli.server_view.say_ready", 0)],
)
def test_ctrl_c_stops_the_server_of_up_at_any_moment(
    moment: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    log = tmp_path / "server.log"
    log.touch()
    handle = ServerHandle("abc123", "local", 0, 0.0, "", 0, 0, 0, str(log), "", ("m",))
    running = Mock(server=handle, plan=Mock(contents=Mock(served={"m": None})))
    running.converted.name = "m"
    stopped: list[ServerHandle] = []
    monkeypatch.setattr("trtbuild.pipeline.up.up", lambda *_, **__: running)
    monkeypatch.setattr("trtbuild.pipeline.serve.server.stop", lambda one, **_: stopped.append(one))
    monkeypatch.setattr("trtbuild.cli.up._other_task", lambda *_, **__: True)
    monkeypatch.setattr("trtbuild.cli.up._start_gateway", lambda *_, **__: "")
    monkeypatch.setattr(f"trtbuild.{moment}", interrupted)
    done = trtbuild("up", "sample:smollm2", "--gateway", "--gateway-port", "0")
    assert (done.returncode, stopped[:1]) == (code, [handle]), done.stderr
    told = "stopping: open requests may take 40 s more; Ctrl-C again ends them\nstopped\n"
    assert (code == 0) == done.stderr.endswith(told)


def test_a_server_that_dies_exits_with_7_and_its_reason(tmp_path: Path, programs: Path) -> None:
    write_tritonserver(programs, says=["error: no such GPU"], exits=3)
    repo = write_python_model(tmp_path / "models", "m")
    done = trtbuild("serve", str(repo), "--port", "auto")
    assert done.returncode == 7
    assert "ended while it was loading (exit status 3)" in done.stderr
    assert "- error: no such GPU" in done.stderr
    assert json.loads(trtbuild("status", "--json").stdout) == []


# As a shell starts what is in the background, and Ray what its workers start.
WITHOUT_INTERRUPTS = ("env", "--ignore-signal=INT", "--block-signal=INT")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_start_exits_with_130_and_leaves_nothing(
    tmp_path: Path, programs: Path, number: signal.Signals
) -> None:
    write_tritonserver(programs, never_ready=True, child=True, says=["loading"])
    repo = write_python_model(tmp_path / "models", "m")
    before = WITHOUT_INTERRUPTS if number == signal.SIGTERM else ()
    command = [*before, sys.executable, "-m", "trtbuild", "serve", str(repo), "--port", "auto"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if "loading" in line:
                break
        running.send_signal(number)
        if number == signal.SIGTERM:  # of a parent that is killed, one for each of its threads
            wait_for(lambda: running.send_signal(number) or running.poll() is not None)
        assert running.wait(60) == 130
    assert json.loads(trtbuild("status", "--json").stdout) == []


def test_nothing_runs() -> None:
    assert "no server is running" in trtbuild("status").stdout
    assert trtbuild("stop").returncode == 2
    assert trtbuild("stop", "--all").returncode == 0
    assert trtbuild("logs").returncode == 2
    assert trtbuild("stop", "abc", "--all").returncode == 2


def test_no_runtime_is_installed(programs: Path) -> None:
    done = trtbuild("runtime", "status", "--json")
    assert [one["state"] for one in json.loads(done.stdout)] == ["missing"] * 4
    done = trtbuild("runtime", "path")
    assert (done.returncode, "trtbuild runtime install" in done.stderr) == (7, True)
    assert trtbuild("runtime", "remove").stdout == "no runtime is installed\n"


def test_a_log_is_shown_for_people_and_for_programs(state_dir: Path) -> None:
    log = state_dir / "servers" / "abc123" / "server.log"
    log.parent.mkdir(parents=True)
    log.write_text(
        'E1121 03:57:05.9 5945 server.cc:241] "CudaDriverHelper has not been initialized."\n'
        'I1121 03:57:06.2 5945 http_server.cc:4713] "Started HTTPService at 127.0.0.1:18000"\n'
    )
    done = trtbuild("logs", "abc")
    assert done.stdout == "03:57:06 info    Started HTTPService at 127.0.0.1:18000\n"
    assert "CudaDriverHelper" in trtbuild("logs", "abc", "--all").stdout
    lines = [json.loads(line) for line in trtbuild("logs", "--json").stdout.splitlines()]
    assert [(line["level"], line["noise"]) for line in lines] == [("error", True), ("info", False)]

"""Processes: started in a session, found again, ended to the last one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from support.waiting import runs, wait_for, wait_for_end
from trtbuild import process
from trtbuild.errors import BuildError
from trtbuild.process import programs

SLEEP = "import time; time.sleep(600)"
DEAF = f"import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); {SLEEP}"


def child_of(code: str) -> str:
    return (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {code!r}])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )


def reports(path: Path) -> str:
    return (
        "import pathlib, signal, sys, time\n"
        f"signal.signal(15, lambda *_: (pathlib.Path({str(path)!r}).touch(), sys.exit()))\n"
        "print('up', flush=True); time.sleep(600)"
    )


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], tuple[int, float, str]]]:
    """Starts Python code as a server; returns pid, start time and the first word it prints."""
    begun: list[tuple[int, float, str]] = []

    def starter(code: str, mark: str = "abc123") -> tuple[int, float, str]:
        log = tmp_path / f"log{len(begun)}"
        pid = process.spawn([sys.executable, "-c", code], mark=mark, env={}, log_path=log)
        started = process.start_time(pid)
        begun.append((pid, started, mark))
        if "print" in code:
            wait_for(lambda: log.read_text().strip())
        return pid, started, log.read_text().partition("\n")[0]

    yield starter
    for pid, started, mark in begun:
        process.terminate(pid, started, mark, deadline=0)


def test_run_gives_output_and_status() -> None:
    done = process.run([sys.executable, "-c", "print('é'); import sys; sys.exit(3)"], timeout=60)
    assert (done.returncode, done.stdout.strip(), done.ok) == (3, "é", False)


def test_run_ends_what_takes_too_long() -> None:
    assert process.run([sys.executable, "-c", SLEEP], timeout=0.3).returncode == 124


def test_run_of_a_missing_program_is_127() -> None:
    assert process.run(["no-such-program-here"], timeout=5).returncode == 127


def test_lines_go_to_the_caller_and_the_log(tmp_path: Path) -> None:
    lines: list[str] = []
    log = tmp_path / "log"
    code = process.run_lines(
        [sys.executable, "-c", "print('a'); print('b')"], on_line=lines.append, log_path=log
    )
    assert (code, lines) == (0, ["a", "b"])
    assert log.read_text().splitlines()[1:] == ["a", "b"]


def test_the_log_can_be_watched(tmp_path: Path) -> None:
    log = tmp_path / "log"
    seen: list[str] = []
    process.run_lines(
        [sys.executable, "-c", "print('a')"],
        on_line=lambda _: seen.append(log.read_text().splitlines()[-1]),
        log_path=log,
    )
    assert seen == ["a"]


def test_an_interrupted_program_is_ended_with_its_children(tmp_path: Path) -> None:
    seen: list[int] = []

    def interrupt(line: str) -> None:
        seen.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process.run_lines(
            [sys.executable, "-c", child_of(DEAF)], on_line=interrupt, log_path=tmp_path / "log"
        )
    wait_for(lambda: not runs(seen[0]))


@pytest.mark.parametrize(
    "held",
    [
        "process.run_lines(argv, on_line=print, log_path=log)",
        """
pid = process.spawn(argv, mark='guarded', env={}, log_path=log)
with process.Guard.over(pid, process.start_time(pid), 'guarded', seconds=5):
    print('held', flush=True)
    time.sleep(600)
""",
    ],
    ids=["run_lines", "spawned"],
)
def test_what_is_guarded_ends_when_we_are_killed(held: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = (
        "import sys, time; from pathlib import Path; from trtbuild import process\n"
        f"log, argv = Path({str(log)!r}), [sys.executable, '-c', {child_of(SLEEP)!r}]\n{held}"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as us:
        assert us.stdout is not None
        us.stdout.readline()  # the number that run_lines passes on, or that the guard is there
        wait_for(lambda: log.exists() and log.read_text().endswith("\n") and _last(log).isdigit())
        family = psutil.Process(us.pid).children(recursive=True)
        assert int(_last(log)) in [one.pid for one in family]
        us.kill()
    wait_for_end(family)


def _last(log: Path) -> str:
    return log.read_text().splitlines()[-1]


def test_a_released_guard_runs_nothing(tmp_path: Path) -> None:
    with process.Guard(["/bin/sh", "-c", f"touch {tmp_path / 'ran'}"]):
        pass
    assert not (tmp_path / "ran").exists()


def test_a_signal_that_comes_just_before_the_wait_is_not_slept_over(tmp_path: Path) -> None:
    # Delivered to another thread it interrupts no system call of this one, as when it comes
    # between Python's last look for signals and the call.
    def interrupt(_line: str) -> None:
        threading.Timer(0.2, lambda: signal.raise_signal(signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        process.run_lines(
            [sys.executable, "-c", f"print('up', flush=True); {SLEEP}"],
            on_line=interrupt,
            log_path=tmp_path / "log",
        )


def test_a_line_without_an_end_and_lines_that_overwrite_each_other(tmp_path: Path) -> None:
    lines: list[str] = []
    code = "import sys; sys.stdout.buffer.write(b'1%\\r2%\\r\\n\\xff\\xc3\\xa9')"
    log = tmp_path / "log"
    assert process.run_lines([sys.executable, "-c", code], on_line=lines.append, log_path=log) == 0
    assert lines == ["1%", "2%", "\ufffdé"]


def test_a_program_that_is_missing_is_a_build_error(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="no-such-program"):
        process.run_lines(["no-such-program"], on_line=print, log_path=tmp_path / "log")


def test_a_polite_server_ends_by_itself(start: Callable[..., tuple[int, float, str]]) -> None:
    pid, started, _ = start(SLEEP)
    assert process.is_alive(pid, started)
    assert process.terminate(pid, started, "abc123", deadline=180)
    assert not process.is_alive(pid, started)
    assert process.exit_status(pid) == -signal.SIGTERM


def test_a_deaf_server_is_killed_at_the_deadline(
    start: Callable[..., tuple[int, float, str]],
) -> None:
    pid, started, _ = start(DEAF)
    assert not process.terminate(pid, started, "abc123", deadline=0.2)
    assert not process.is_alive(pid, started)


def test_what_holds_a_server_up_is_told_as_well(
    start: Callable[..., tuple[int, float, str]], tmp_path: Path
) -> None:
    told, orphaned = tmp_path / "told", tmp_path / "orphaned"
    start(
        "import pathlib, signal, subprocess, sys, time\n"
        f"code = {reports(orphaned)!r}\n"
        "child = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE)\n"
        f"child.stdout.readline()\n{reports(told)}"
    )
    pid, started, _ = start(
        "import os, signal, sys, time\n"
        "def end(*_):\n"
        f"    while not os.path.exists({str(told)!r}): time.sleep(0.01)\n"
        "    sys.exit()\n"
        "signal.signal(15, end); print('up', flush=True); time.sleep(600)"
    )
    assert process.terminate(pid, started, "abc123", deadline=180)
    assert not orphaned.exists()  # a child is its parent's to end


def test_what_was_started_beside_a_server_has_the_same_time(
    start: Callable[..., tuple[int, float, str]], tmp_path: Path
) -> None:
    ended = tmp_path / "ended"
    beside = (
        "import pathlib, signal, sys, time\n"
        f"def end(*_): time.sleep(0.3); pathlib.Path({str(ended)!r}).touch(); sys.exit()\n"
        "signal.signal(15, end); print('up', flush=True); time.sleep(600)"
    )
    pid, started, _ = start(SLEEP)
    start(beside)
    assert process.terminate(pid, started, "abc123", deadline=180)
    assert ended.exists(), "it was not killed as soon as the server had ended"


def test_children_are_found_after_their_parent_was_killed(
    start: Callable[..., tuple[int, float, str]],
) -> None:
    pid, started, child = start(child_of(DEAF))
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not process.is_alive(pid, started))
    assert [one.pid for one in process.family(pid, started, "abc123")] == [int(child)]
    process.terminate(pid, started, "abc123", deadline=0)
    assert not runs(int(child))


@pytest.mark.parametrize("collected", [False, True])
def test_nothing_of_a_session_outlives_its_killed_leader(
    start: Callable[..., tuple[int, float, str]], monkeypatch: pytest.MonkeyPatch, collected: bool
) -> None:
    """Also where nobody collects the leader, as in a container without an init."""
    monkeypatch.setattr(programs, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(programs, "_GRACE_SECONDS", 0.1)
    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)
    pid, _, child = start(child_of(SLEEP))
    left = psutil.Process(int(child))
    os.kill(pid, signal.SIGKILL)
    if collected:
        wait_for(lambda: process.exit_status(pid))
    wait_for_end([left])
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_server_that_cannot_be_watched_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    def refuse(leader: int) -> None:
        started.append(leader)
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(programs, "_watch", refuse)
    with pytest.raises(BlockingIOError):
        process.spawn([sys.executable, "-c", SLEEP], mark="m", env={}, log_path=tmp_path / "log")
    assert started and not runs(started[0])


def test_several_threads_start_servers_at_once(
    start: Callable[..., tuple[int, float, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ending(subprocess.Popen[bytes]):
        """While it is asked whether it runs, another thread starts a program."""

        def poll(self) -> int | None:
            programs._children[-2] = self
            return super().poll()

    with Ending(["true"]) as ended:
        monkeypatch.setattr(programs, "_children", {-1: ended})
        pid, started, _ = start(SLEEP)
    assert process.is_alive(pid, started)


def test_a_child_in_a_session_of_its_own_is_found_by_its_mark(
    start: Callable[..., tuple[int, float, str]],
) -> None:
    away = f"import os; os.setsid(); {SLEEP}"
    pid, started, child = start(child_of(away))
    wait_for(lambda: os.getsid(int(child)) == int(child))
    process.terminate(pid, started, "abc123", deadline=1)
    assert not runs(int(child))


def test_a_reused_pid_is_left_alone(start: Callable[..., tuple[int, float, str]]) -> None:
    pid, started, _ = start(SLEEP, "other1")
    assert not process.is_alive(pid, started - 100)
    assert process.family(pid, started - 100, "abc123") == []
    process.terminate(pid, started - 100, "abc123", deadline=0)
    assert process.is_alive(pid, started)


def test_setting_the_clock_does_not_end_a_server(
    start: Callable[..., tuple[int, float, str]],
) -> None:
    """It moves the start times that the system reports, but not what was recorded."""
    pid, started, child = start(child_of(SLEEP))
    for recorded in (started - 3600, started + 3600):
        assert process.is_alive(pid, recorded, "abc123")
        members = process.family(pid, recorded, "abc123")
        assert {one.pid for one in members} == {pid, int(child)}
    assert process.terminate(pid, started - 3600, "abc123", deadline=180)
    assert not process.is_alive(pid, started)


def test_a_number_that_no_process_can_have_is_not_alive() -> None:
    assert not process.is_alive(-5, 0.0)
    assert not process.is_alive(2**80, 0.0)
    assert not any(map(process.exists, ("9" * 5000, str(2**80), "\u00b2", "-1", "")))


def test_no_session_of_the_system_is_touched() -> None:
    assert process.session_members(0) == []
    assert process.session_members(1) == []


def test_a_listening_port_is_taken_and_its_owner_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not process.port_is_free(port)
        assert f"pid {os.getpid()}" in process.port_owner(port)
        assert process.listener(port) == os.getpid()
        with socket.create_connection(server.getsockname()) as client:
            assert process.listener(client.getsockname()[1]) == 0, "it does not listen"
    assert process.listener(port) == 0
    assert process.port_is_free(port)


def test_free_ports_differ_and_are_free() -> None:
    ports = process.free_ports(20)
    assert len(set(ports)) == 20
    assert all(process.port_is_free(port) for port in ports)


@pytest.mark.parametrize(("range_", "quiet"), [("32768\t60999", True), ("1024\t65535", False)])
def test_free_ports_are_below_those_that_connections_take(
    range_: str, quiet: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "range").write_text(range_)
    monkeypatch.setattr("trtbuild.process.machine._EPHEMERAL", tmp_path / "range")
    ports = process.free_ports(3)
    assert all(10240 <= port < 32768 for port in ports) or not quiet
    assert all(process.port_is_free(port) for port in ports)


def test_an_address_of_another_machine_has_no_free_ports() -> None:
    with pytest.raises(OSError, match="assign requested address"):
        process.free_ports(1, "192.0.2.1")


def test_shared_memory_in_use_is_told(tmp_path: Path) -> None:
    import mmap

    path = tmp_path / "region"
    path.write_bytes(b"x" * 4096)
    with path.open("r+b") as stream, mmap.mmap(stream.fileno(), 4096):
        ourselves = psutil.Process()
        assert process.mapped_files([ourselves], str(tmp_path)) == {str(path)}
    assert process.mapped_files([ourselves], str(tmp_path)) == set()

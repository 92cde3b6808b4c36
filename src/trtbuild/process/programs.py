"""Start, watch and end other programs.

A server is started in a session of its own with :data:`MARK` in its environment. Everything it
starts inherits both, so the whole family is found again even after its first process died and
its children were adopted by init. Process ids are only trusted together with a start time.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import psutil

from trtbuild.endings import uninterrupted
from trtbuild.errors import BuildError

MARK = "TRTBUILD_SERVER_ID"
_POLL = 0.05
_LOOK_UP = 0.5
_PIPE = 1 << 16
# Start times read through /proc are whole clock ticks; two reads of one process agree exactly,
# but a record that went through JSON is compared with some room.
_SAME_START = 0.5

Member = psutil.Process

# Popen objects of servers started here; keeping them lets the exit status be collected.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished program left. ``returncode`` is 124 when the time was up."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """It ended with 0."""
        return self.returncode == 0


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Result:
    """Run to the end and capture the output; 127 when there is no such program, 124 on timeout."""
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            check=False,
            cwd=cwd,
            encoding="utf-8",
            env=_merged(env),
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        return Result(124, _text(error.stdout), f"no answer within {timeout:.0f} s")
    except OSError as error:
        return Result(127, "", f"{argv[0]}: {error.strerror or error}")
    return Result(done.returncode, done.stdout, done.stderr)


def run_lines(
    argv: Sequence[str],
    *,
    on_line: Callable[[str], None],
    log_path: Path,
    env: Mapping[str, str] | None = None,
) -> int:
    """Run to the end, each output line to ``on_line`` and to the end of ``log_path``.

    An exception on the way (Ctrl-C too) ends the program and its children before it goes on.
    """
    child: subprocess.Popen[bytes] | None = None
    with log_path.open("a", buffering=1, encoding="utf-8") as log:  # people watch it
        log.write(f"$ {' '.join(argv)}\n")
        try:
            with uninterrupted():  # a program whose number nobody knows would go on alone
                child = _talking(argv, env, log)
            for line in _lines(child):
                log.write(f"{line}\n")
                on_line(line.rstrip())
            while (code := child.poll()) is None:
                time.sleep(_POLL)
            return code
        except BaseException:
            if child:
                _kill(session_members(child.pid))
                child.wait()
            raise


def _talking(
    argv: Sequence[str], env: Mapping[str, str] | None, log: TextIO
) -> subprocess.Popen[bytes]:
    """Start a program whose output comes through a pipe."""
    try:
        return subprocess.Popen(
            argv,
            bufsize=0,
            env=_merged(env),
            start_new_session=True,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
    except OSError as error:
        log.write(f"{error}\n")
        raise BuildError(
            f"{argv[0]} could not be started: {error.strerror or error}",
            where=log.name,
            fix=f"install {Path(argv[0]).name}, or run this where it is on PATH",
        ) from None


def _lines(child: subprocess.Popen[bytes]) -> Iterator[str]:
    """The lines that a program writes, waited for in short pieces.

    A signal that comes between Python's last look for one and the system call that waits
    interrupts nothing: its handler would run after the next line, an hour later perhaps.
    """
    arrived: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(child, arrived), daemon=True).start()
    utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
    decoder = io.IncrementalNewlineDecoder(utf8, translate=True)  # progress ends lines by \r
    rest, chunk = "", b"?"
    while chunk:
        try:
            chunk = arrived.get(timeout=_LOOK_UP)
        except queue.Empty:
            continue
        *whole, rest = (rest + decoder.decode(chunk, final=not chunk)).split("\n")
        yield from whole
    if rest:
        yield rest


def _read(child: subprocess.Popen[bytes], arrived: queue.SimpleQueue[bytes]) -> None:
    """All output as it comes, then an empty piece. Unbuffered: a buffer's lock, held here while
    the interpreter goes down, would be fatal to it.
    """
    assert child.stdout is not None
    try:
        while chunk := child.stdout.read(_PIPE):
            arrived.put(chunk)
    finally:
        arrived.put(b"")


def spawn(argv: Sequence[str], *, mark: str, env: Mapping[str, str], log_path: Path) -> int:
    """Start a program that outlives us: own session, output to ``log_path``; returns its pid.

    Raises:
        OSError: It cannot be started.
    """
    with log_path.open("ab") as log:
        child = subprocess.Popen(
            argv,
            env={**_merged(env), MARK: mark},
            start_new_session=True,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            stdout=log,
        )
    _children[child.pid] = child
    return child.pid


def exit_status(pid: int) -> int | None:
    """The exit status of a program that :func:`spawn` started here, None if unknown or alive."""
    child = _children.get(pid)
    return child.poll() if child else None


def start_time(pid: int) -> float:
    """When the process began, in seconds since the epoch; 0 when there is none."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def is_alive(pid: int, started: float) -> bool:
    """Whether the very process that began at ``started`` still runs (a zombie does not)."""
    exit_status(pid)
    try:
        found = psutil.Process(pid)
        same = abs(found.create_time() - started) < _SAME_START
        return same and found.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def exists(pid: str) -> bool:
    """Whether there is a process of that number; a text that is no number has none."""
    return pid.isdecimal() and psutil.pid_exists(int(pid))


def session_members(leader: int) -> list[psutil.Process]:
    """Live processes of the session that ``leader`` began, itself included."""
    if leader <= 1:
        return []  # session 0 is the kernel's, 1 may be init's: never ours to end
    return [found for found in live() if _session(found.pid) == leader]


def family(leader: int, started: float, mark: str) -> list[psutil.Process]:
    """Every live process of a server: its session, and whatever carries its mark.

    The kernel does not reuse a pid while a session bears it, so a leader that is gone still
    names its session; a leader with another start time means that nobody of it is left.
    """
    now = start_time(leader)
    reused = bool(now) and abs(now - started) >= _SAME_START
    members = {} if reused else {found.pid: found for found in session_members(leader)}
    for found in live():
        if found.pid not in members and mark and _marked(found, mark):
            members[found.pid] = found
    return list(members.values())


def terminate(leader: int, started: float, mark: str, *, deadline: float) -> bool:
    """End a server: SIGTERM to its first process, SIGKILL to all that is left at ``deadline``.

    Only the leader gets the polite signal: it ends its children in order, whereas children
    ended beside it look like crashes to it. Returns whether it ended by itself in time.
    """
    polite = is_alive(leader, started)
    if polite:
        _signal(leader, signal.SIGTERM)
    until = time.monotonic() + deadline
    while polite and is_alive(leader, started) and time.monotonic() < until:
        time.sleep(_POLL)
    in_time = not is_alive(leader, started)
    _kill(family(leader, started, mark))
    exit_status(leader)
    return in_time


def _merged(env: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, **(env or {})}


def _text(output: str | bytes | None) -> str:
    return output.decode("utf-8", "replace") if isinstance(output, bytes) else output or ""


def live() -> list[psutil.Process]:
    """Every process but ourselves and zombies."""
    return [found for found in psutil.process_iter() if _is_running(found)]


def _is_running(found: psutil.Process) -> bool:
    try:
        return found.pid != os.getpid() and found.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _marked(found: psutil.Process, mark: str) -> bool:
    try:
        return found.environ().get(MARK) == mark
    except (psutil.Error, OSError):
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _kill(members: Sequence[psutil.Process]) -> None:
    """SIGKILL them all and wait until they are gone."""
    for member in members:
        try:
            member.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(members, timeout=5)

"""Start programs that outlive us, find them and stop them.

A server is started in a separate session with :data:`MARK` in its environment. All its children
inherit both, so the whole family can be found even after its first process died and its children
were adopted by init. Process ids are used only together with a start time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

MARK = "TRTBUILD_SERVER_ID"
# Arguments: the leader of a session, seconds between looks, seconds for the rest to end by itself.
# A leader that is a zombie is gone: in a container without an init nobody may collect it. Its pid
# with another start time means that no process of its session is left.
_WATCH = """
look() { read -r stat 2>/dev/null <"/proc/$1/stat" && set -- ${stat##*) } && echo "$1 ${20}"; }
runs() { now=$(look "$pid") && [ "${now#* }" = "$began" ] && [ "${now% *}" != Z ]; }
end() {
  now=$(look "$pid") && [ "${now#* }" != "$began" ] && exit
  for found in /proc/[0-9]*; do
    read -r stat 2>/dev/null <"$found/stat" || continue
    set -- "$1" ${stat##*) }
    [ "$2" != Z ] && [ "$5" = "$pid" ] && kill "-$1" "${found#/proc/}" && left=yes
  done
}
pid=$1
began=$(look "$pid")
began=${began#* }
while runs; do sleep "$2"; done
left=
end 0
[ -z "$left" ] || sleep "$3"
end KILL
"""
_LOOK_SECONDS = 1
_GRACE_SECONDS = 1
_POLL = 0.05
_KILLED_POLL = 0.005
_KILLED_SECONDS = 30.0
# Start times read through /proc are whole clock ticks; two reads of one process agree exactly,
# but a record that went through JSON is compared with a tolerance.
_SAME_START = 0.5
_MOST_DIGITS = 10  # of a process's number

Member = psutil.Process

# Popen objects of servers started here; they are kept to collect the exit status.
_children: dict[int, subprocess.Popen[bytes]] = {}


def spawn(
    argv: Sequence[str],
    *,
    mark: str,
    env: Mapping[str, str],
    log_path: Path,
    inherit: bool = True,
) -> int:
    """Start a program in its own session, with output to ``log_path``; return its pid.

    Its environment is ours with ``env`` added; without ``inherit`` only ``env``.

    Raises:
        OSError: It cannot be started.
    """
    with log_path.open("ab") as log:
        child = subprocess.Popen(
            argv,
            env={**(merged(env) if inherit else env), MARK: mark},
            start_new_session=True,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            stdout=log,
        )
    _children[child.pid] = child
    try:
        _watch(child.pid)
    except OSError:
        child.kill()
        child.wait()
        raise
    return child.pid


def _watch(leader: int) -> None:
    """Start a shell that ends a session after its leader, however that ends.

    A stub of Triton's Python backend that is in a call to its server when that is killed waits for
    the answer forever.
    """
    for child in list(_children.values()):  # other threads start programs, too
        child.poll()  # the shells of servers that ended
    shell = subprocess.Popen(
        ["/bin/sh", "-c", _WATCH, "watch", *map(str, (leader, _LOOK_SECONDS, _GRACE_SECONDS))],
        env={"PATH": os.defpath},
        start_new_session=True,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    _children[shell.pid] = shell


def exit_status(pid: int) -> int | None:
    """Return the exit status of a program that :func:`spawn` started, None if unknown or alive."""
    child = _children.get(pid)
    return child.poll() if child else None


def start_time(pid: int) -> float:
    """Return when the process began, in seconds since the epoch; 0 without a process."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def is_alive(pid: int, started: float, mark: str = "") -> bool:
    """Whether the process that began at ``started`` is still running (a zombie is not).

    Setting the system's clock moves the start times of all processes. One with another start time
    is the same if it has the ``mark``.
    """
    exit_status(pid)
    try:
        found = psutil.Process(pid)
        return _is(found, started, mark) and found.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError):  # a negative number
        return False


def _is(found: psutil.Process, started: float, mark: str) -> bool:
    return abs(found.create_time() - started) < _SAME_START or _marked(found, mark)


def exists(pid: str) -> bool:
    """Whether there is a process with that number; False for text that is not a number."""
    return pid.isdecimal() and len(pid) < _MOST_DIGITS and psutil.pid_exists(int(pid))


def session_members(leader: int) -> list[psutil.Process]:
    """Return live processes of ``leader``'s session, itself included."""
    if leader <= 1:
        return []  # session 0 is the kernel's, 1 may be init's: never stop them
    return [found for found in live() if _session(found.pid) == leader]


def family(leader: int, started: float, mark: str) -> list[psutil.Process]:
    """Return every live process of a server: its session, and all with its mark.

    The kernel does not reuse a pid while a session has it, so a leader that is gone still
    identifies its session. Another process with the leader's pid means that the session is gone.
    """
    try:
        reused = not _is(psutil.Process(leader), started, mark)
    except (psutil.Error, ValueError):
        reused = False
    session = 0 if reused or leader <= 1 else leader  # 0: nobody's
    return [
        found
        for found in live()
        if (session and _session(found.pid) == session) or (mark and _marked(found, mark))
    ]


def terminate(leader: int, started: float, mark: str, *, deadline: float) -> bool:
    """Stop a server: SIGTERM to its first process, SIGKILL to the rest at ``deadline``.

    Only the leader gets SIGTERM: it stops its children in order, and would treat children that end
    by themselves as crashed. What was started beside it with the same mark gets one, too, and the
    same time: Triton waits for a gateway's streams. Returns whether it ended by itself in time.
    """
    told = {leader: started} if is_alive(leader, started, mark) else {}
    if told:
        told |= {pid: start_time(pid) for pid in _beside(leader, mark)}
    for pid in told:
        _signal(pid, signal.SIGTERM)
    until = time.monotonic() + deadline
    while any(is_alive(*one, mark) for one in told.items()) and time.monotonic() < until:
        time.sleep(_POLL)
    in_time = not is_alive(leader, started, mark)
    kill(family(leader, started, mark))
    exit_status(leader)
    return in_time


def _beside(leader: int, mark: str) -> list[int]:
    """Return the programs that :func:`spawn` started with a mark besides the leader."""
    marked = {}
    for found in live() if mark else ():
        with contextlib.suppress(psutil.Error):  # it ended just now
            if _marked(found, mark):
                marked[found.pid] = found.ppid()
    return [pid for pid, parent in marked.items() if pid != leader and parent not in marked]


def merged(env: Mapping[str, str] | None) -> dict[str, str]:
    """Return our environment with ``env`` added."""
    return {**os.environ, **(env or {})}


def live() -> list[psutil.Process]:
    """Yield every process except ourselves and zombies."""
    return [found for found in psutil.process_iter() if _is_running(found)]


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _marked(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark
    except (psutil.Error, OSError):
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def kill(members: Sequence[psutil.Process]) -> None:
    """Send SIGKILL to all and wait until none of them runs; those of other users are left."""
    killed = []
    for member in members:
        with contextlib.suppress(psutil.Error):
            member.kill()
            killed.append(member)
    until = time.monotonic() + _KILLED_SECONDS
    while any(map(_still_runs, killed)) and time.monotonic() < until:
        time.sleep(_KILLED_POLL)


def _still_runs(member: psutil.Process) -> bool:
    # A zombie holds nothing, and may stay one: in a container nobody may collect it.
    return member.is_running() and _is_running(member)

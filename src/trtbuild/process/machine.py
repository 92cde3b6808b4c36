"""Resources of this machine that processes use: ports, memory, shared memory, files."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from trtbuild.process.programs import live

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LINUX_EPHEMERAL = 32768  # Linux' default
_QUIET = 10240  # above the ports that people give to their own servers
_TRIED = 100


def mapped_files(members: Sequence[psutil.Process], root: str) -> set[str]:
    """Return files under ``root`` that one of the processes has mapped."""
    found: set[str] = set()
    for member in members:
        try:
            maps = Path(f"/proc/{member.pid}/maps").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        fields = (line.split(maxsplit=5) for line in maps.splitlines() if root in line)
        found.update(f[5] for f in fields if len(f) == 6 and f[5].startswith(root))
    return {path for path in found if not path.endswith(" (deleted)")}


def all_mapped_files(root: str) -> set[str]:
    """Return files under ``root`` that any accessible live process has mapped."""
    return mapped_files(list(live()), root)


def available_memory() -> int:
    """Return the available memory in bytes, within the limit of the control group."""
    free = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return free
    return min(free, int(limit) - used) if limit.isdigit() else free


def free_ports(count: int, host: str = "127.0.0.1") -> tuple[int, ...]:
    """Return different ports on which nothing listens now, and which Linux gives to nobody.

    A server may bind its ports only after minutes of loading. Until then a client's connection
    could take one of the ephemeral ports, which ``bind`` to port 0 returns.

    Raises:
        OSError: This machine does not have the address ``host``.
    """
    with contextlib.ExitStack() as held:
        found: list[int] = []
        for port in itertools.chain(_quiet_ports(), itertools.repeat(0)):
            if len(found) == count:
                break
            probe = socket.socket(_address_family(host), socket.SOCK_STREAM)
            held.enter_context(probe)
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE and port:
                    continue
                raise
            found.append(int(probe.getsockname()[1]))
        return tuple(found)


def _quiet_ports() -> list[int]:
    """Return a hundred random ports below the ephemeral ones; fewer or none if those begin low."""
    try:
        first = int(_EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        first = _LINUX_EPHEMERAL
    quiet = range(_QUIET, first)
    return random.SystemRandom().sample(quiet, min(_TRIED, len(quiet)))


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server can listen on ``port``."""
    with socket.socket(_address_family(host), socket.SOCK_STREAM) as probe:
        # As servers do; otherwise a port in TIME_WAIT would count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def port_owner(port: int) -> str:
    """Return who listens on ``port``, such as ``tritonserver (pid 4242)``; ``""`` if unknown."""
    pid = listener(port)
    try:
        return f"{psutil.Process(pid).name()} (pid {pid})" if pid else ""
    except psutil.Error:
        return f"pid {pid}"


def listener(port: int) -> int:
    """Return the id of the first process that listens on ``port``; 0 if none is known."""
    sockets = set(_listening(port))
    for pid in psutil.pids() if sockets else ():
        with contextlib.suppress(OSError):  # it ended, or is another user's
            if not sockets.isdisjoint(_open_files(pid)):
                return pid
    return 0


def _listening(port: int) -> Iterator[str]:
    """Yield the sockets that listen on ``port``, named as in ``/proc/PID/fd``; see
    https://www.kernel.org/doc/html/latest/networking/proc_net_tcp.html."""
    end = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), Path(table).open() as lines:
            for line in lines:
                if end in line:
                    _, local, _, state, *_, inode = line.split()[:10]
                    if state == "0A" and local.endswith(end):
                        yield f"socket:[{inode}]"


def _open_files(pid: int) -> Iterator[str]:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed just now
            yield str(entry.readlink())


def running_from(root: Path) -> list[int]:
    """Return ids of processes whose program file, or a link to it by which they were started, is
    under ``root``."""
    prefixes = tuple(f"{place}{os.sep}" for place in (root, root.resolve()))
    return [
        found.pid
        for found in live()
        if any(name.startswith(prefixes) for name in _executables(found))
    ]


def _address_family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _executables(process: psutil.Process) -> list[str]:
    """Return the program's file, and its name as it was started: a virtual environment's Python is
    a link."""
    try:
        return [process.exe(), *process.cmdline()[:1]]
    except (psutil.Error, OSError):
        return []

"""Waiting in tests: for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from trtbuild import process as programs


def wait_for(condition: Callable[[], object], seconds: float = 180) -> None:
    """Wait until ``condition`` holds; the deadline is for a machine with other work."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.01)


def runs(process: int | psutil.Process) -> bool:
    """Whether a process runs. A zombie does not: without an init to collect it, it stays one."""
    try:
        found = psutil.Process(process) if isinstance(process, int) else process
        return found.is_running() and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for_end(processes: Iterable[psutil.Process]) -> None:
    """Wait until none of them runs."""
    wait_for(lambda: not any(map(runs, processes)))


def least(measure: Callable[[], float], below: float, tries: int = 4) -> float:
    """The least of some measurements; none after the first that is below a bound.

    For what a client's absence may cost a server at most: each pause of this process, between what
    it reads and how it leaves, adds to the cost, and nothing takes away from it.
    """
    found = measure()
    for _ in range(tries - 1):
        if found < below:
            break
        found = min(found, measure())
    return found


def unused_shm() -> set[Path]:
    """Shared memory of servers of ours that no process has mapped.

    The files come first: one that is made after this look is not seen, and one that was there
    before is mapped by now, or gone.
    """
    found = set(Path("/dev/shm").glob("trtbuild_*"))
    mapped = programs.all_mapped_files("/dev/shm")
    return {path for path in found if str(path) not in mapped and path.exists()}

"""Waiting in tests: for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import psutil


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
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

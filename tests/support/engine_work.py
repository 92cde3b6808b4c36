"""How much the engines below a server have computed: whether a request is still in one of them."""

from __future__ import annotations

import time

import psutil

_WINDOW, _WINDOWS = 0.2, 3
_AT_REST = 0.05  # of a core: an engine that waits takes far less, one that computes far more


def cpu_seconds(pid: int) -> float:
    """Processor seconds that the vLLM engines below process ``pid`` have used."""
    used = 0.0
    for process in psutil.Process(pid).children(recursive=True):
        try:
            if "EngineCore" in " ".join([process.name(), *process.cmdline()]):
                times = process.cpu_times()
                used += times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return used


def until_rest(pid: int, *, within: float = 240) -> float:
    """Wait until no engine computes; the processor seconds that they have used by then.

    Raises:
        AssertionError: one still computes after ``within`` seconds.
    """
    until = time.monotonic() + within
    before, began, quiet = cpu_seconds(pid), time.monotonic(), 0
    while time.monotonic() < until:
        time.sleep(_WINDOW)
        after, ended = cpu_seconds(pid), time.monotonic()
        # Not a window in which the whole machine stood still, and not one alone: an engine may have
        # to wait for a core.
        rests = after - before < _AT_REST * _WINDOW and ended - began < 4 * _WINDOW
        quiet = quiet + 1 if rests else 0
        if quiet == _WINDOWS:
            return after
        before, began = after, ended
    raise AssertionError(f"an engine computes after {within} s")

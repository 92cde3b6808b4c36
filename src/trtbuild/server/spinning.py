"""How long OpenMP's threads spin before they sleep, in libgomp's unit.

``GOMP_SPINCOUNT`` is a number of loop iterations with the processor's ``pause`` instruction, which
takes 140 cycles on one processor and 60 on another. What matters is time: between two parts of a
model a thread waits for some hundred microseconds, and if it sleeps, the kernel has to wake it each
time. So the instruction is timed, which takes a millisecond, and the count is computed from that.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import time
from functools import cache

SPIN_SECONDS = 0.0015
"""Longer than a part of a model takes, and short beside a step, after which the server needs the
cores to send what was made."""

_DEFAULT = 30_000  # without a measurement: 0.7 to 1.8 ms
_LEAST, _MOST = 3_000, 500_000
_TURNS = 4_000
_SAMPLES = 8
# pause; dec edi; jnz -6; ret
_LOOP = bytes.fromhex("f390ffcf75fac3")


def spin_count(seconds: float = SPIN_SECONDS) -> int:
    """Return the number of iterations that take ``seconds`` on this processor."""
    turn = pause_seconds()
    if not turn:
        return _DEFAULT
    count = min(_MOST, max(_LEAST, seconds / turn))
    return int(float(f"{count:.2g}"))  # two digits, so that every start uses the same value


@cache
def pause_seconds() -> float:
    """Return seconds of one iteration, the shortest of several samples; 0 if not measurable."""
    if platform.machine() != "x86_64":
        return 0.0
    try:
        with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as page:
            page.write(_LOOP)
            return _timed(page)
    except (OSError, ValueError, AttributeError):
        return 0.0


def _timed(page: mmap.mmap) -> float:
    code = ctypes.c_char.from_buffer(page)
    address = ctypes.addressof(code)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        # Written first, executable then: some kernels allow no page to be both.
        if libc.mprotect(ctypes.c_void_p(address), mmap.PAGESIZE, 1 | 4):  # PROT_READ | PROT_EXEC
            return 0.0
        loop = ctypes.CFUNCTYPE(None, ctypes.c_uint32)(address)
        return min(_sample(loop) for _ in range(_SAMPLES)) / _TURNS
    finally:
        del code  # the mapping cannot be closed while something refers to it


def _sample(loop: ctypes._FuncPointer) -> float:
    start = time.perf_counter()
    loop(_TURNS)
    return time.perf_counter() - start

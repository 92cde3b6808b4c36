"""An event loop whose clock is ours: what takes half a second on it takes as long as its work.

Sockets are real ones. Every turn of the loop costs ``TURN`` seconds of the clock; when nothing is
left to do until a timer is due, the clock jumps there. A test that compares milliseconds then gives
the same figures on every machine, however busy.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

T = TypeVar("T")

TURN = 1e-5
_IN_FLIGHT = 5e-4  # real seconds for bytes that the kernel has not handed on yet


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class _Selector(selectors.DefaultSelector):
    def __init__(self, clock: _Clock) -> None:
        super().__init__()
        self.clock = clock

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            return super().select(None)
        if timeout <= 0:
            self.clock.now += TURN
            return super().select(0)
        events = super().select(_IN_FLIGHT)
        if not events:
            self.clock.now += timeout
        return events


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: _Clock) -> None:
        super().__init__(_Selector(clock))
        self._ours = clock

    def time(self) -> float:
        return self._ours.now


def run(main: Coroutine[Any, Any, T], monkeypatch: pytest.MonkeyPatch) -> T:
    """What ``main`` returns; meanwhile ``time.perf_counter`` is the loop's clock."""
    clock = _Clock()
    with monkeypatch.context() as patch:
        patch.setattr(time, "perf_counter", clock)
        with asyncio.Runner(loop_factory=lambda: _Loop(clock)) as runner:
            return runner.run(main)

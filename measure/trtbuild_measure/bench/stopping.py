"""Signals that end a measurement early and keep its figures."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator

from trtbuild.endings import WORDS
from trtbuild_measure.bench.loads import Control


@contextlib.contextmanager
def ending(control: Control) -> Iterator[None]:
    """Inside the block the first signal ends the measurement, the second one the program."""
    loop = asyncio.get_running_loop()
    before = {
        number: handler
        for number in (getattr(signal, name) for name in WORDS)
        if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None)
    }

    def stop(number: int) -> None:
        control.interrupt(number)
        restore()

    def restore() -> None:
        for number, handler in before.items():
            if loop.remove_signal_handler(number):
                signal.signal(number, handler)

    try:
        for number in before:
            loop.add_signal_handler(number, stop, number)
    except (NotImplementedError, RuntimeError, ValueError):
        yield  # not the main thread, or no such signals here
        return
    try:
        yield
    finally:
        restore()

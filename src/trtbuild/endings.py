"""Signals that end a program: their words for people, their exit codes, and how to put them off."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

WORDS = {
    name: words
    for name, words in (
        ("SIGINT", "interrupted"),
        ("SIGTERM", "terminated"),
        ("SIGHUP", "its terminal was closed"),
    )
    if hasattr(signal, name)
}
"""By the signal's name; only those that this system has."""

_EXIT = 128  # what a shell adds to the number of the signal that ended a program


def exit_code(number: int) -> int:
    """130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP: what shells and supervisors expect."""
    return _EXIT + number


def word(number: int) -> str:
    """What happened, for people."""
    return WORDS[signal.Signals(number).name]


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put Ctrl-C, and what else unwinds us, off until the end of the block: a few renames, a
    clean-up.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        caught.append(number)

    previous = {
        number: signal.signal(number, remember)
        for number in (signal.Signals[name] for name in WORDS)
        # what is ignored stays so, and the system's own way of ending us runs no code of ours
        if callable(signal.getsignal(number))
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if caught:  # also if the block failed: whoever handles that must not go on
            signal.raise_signal(caught[0])

"""Signals that end a program: their words for people, and their exit codes."""

from __future__ import annotations

import signal

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

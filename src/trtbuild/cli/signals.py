"""Signals that end the program: what it started is ended first, what it half wrote is removed."""

from __future__ import annotations

import signal
import sys
from types import FrameType

_EXIT = 128  # what a shell adds to the number of the signal that ended a program
_WORDS = {"SIGTERM": "terminated", "SIGHUP": "its terminal was closed"}


def leave_nothing_behind() -> None:
    """Let SIGTERM and SIGHUP unwind as Ctrl-C does, with the exit code 143 and 129.

    Supervisors, schedulers and ``docker stop`` end programs so; without this a scratch folder of
    the checkpoint's size stayed, and a compiler went on alone. A signal that whoever started us
    has it ignored (``nohup``) stays ignored.
    """

    def leave(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # supervisors send it twice: let the clean-up end
        sys.stderr.write(f"{_WORDS[signal.Signals(number).name]}\n")
        sys.exit(_EXIT + number)

    for name in _WORDS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, leave)

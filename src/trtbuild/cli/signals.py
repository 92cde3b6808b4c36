"""Signals that end the program: what it started is ended first, what it half wrote is removed."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from trtbuild.endings import WORDS, exit_code, word


def leave_nothing_behind() -> None:
    """Let SIGTERM and SIGHUP unwind as Ctrl-C does, with the exit code 143 and 129.

    Supervisors, schedulers and ``docker stop`` end programs so; without this a scratch directory of
    the checkpoint's size stayed, and a compiler went on alone. A signal that whoever started us
    has it ignored (``nohup``) stays ignored.
    """

    def leave(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # supervisors send it twice: let the clean-up end
        sys.stderr.write(f"{word(number)}\n")
        sys.exit(exit_code(number))

    for name in WORDS.keys() - {"SIGINT"}:  # which Python turns into KeyboardInterrupt
        number = getattr(signal, name)
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, leave)

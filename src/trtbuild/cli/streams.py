"""Standard streams, also where whoever started us closed them or chose another encoding."""

from __future__ import annotations

import io
import os
import sys


def steady() -> None:
    """Open those that are closed, and let every text be written.

    A file that is opened later would get the number of a closed one, and what our children print.
    What an encoding lacks, or none has (a file's name that is not UTF-8), becomes a JSON escape.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdin = sys.stdin or os.fdopen(0, encoding="utf-8")
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

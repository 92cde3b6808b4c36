"""A guard ends what this process started, if it is killed before it can do so itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Self

# `read` fails at the end of the pipe, which comes when the last process that holds it has ended.
_WAIT = 'read -r _ && exit; exec "$@"'


class Guard:
    """Runs a command if this process ends without :meth:`release`, as by SIGKILL; also a context.

    It is a shell that waits on a pipe, in a session of its own: Ctrl-C does not reach it.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _WAIT, "trtbuild-guard", *argv],
            start_new_session=True,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )

    @classmethod
    def over(cls, pid: int, started: float, mark: str = "", *, seconds: float = 0) -> Self:
        """Return one that ends a family of processes as ``terminate`` does."""
        words = (str(pid), repr(started), mark, str(seconds))
        return cls([sys.executable, "-m", "trtbuild.process", *words])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def release(self) -> None:
        """End the guard without its command."""
        if self._shell.returncode is None:
            self._shell.communicate(b"\n")

"""A program that runs as long as we do, with its files in a directory of its own."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from trtbuild import process
from trtbuild.errors import ServerError, UnsupportedError
from trtbuild.wire.blocking import run
from trtbuild.wire.failures import WireError
from trtbuild.wire.response import Response
from trtbuild.wire.triton_http import TritonHttp
from trtbuild_deploy.local import rotating

_START_SECONDS = 30.0
_POLL = 0.05


def installed(name: str, fix: str) -> Path:
    """Return a program on the PATH, or one that pip installed beside this Python.

    Raises:
        UnsupportedError: There is none; ``fix`` says how to install it.
    """
    beside = Path(sys.executable).parent / name
    found = shutil.which(name) or (str(beside) if beside.is_file() else "")
    if not found:
        raise UnsupportedError(f"{name} is not installed", fix=fix)
    return Path(found)


class Program:
    """A running program that answers HTTP; as a context it is ended on the way out.

    Args:
        argv: Its command line.
        log: Its output.
        address: ``HOST:PORT`` where it answers.
        ready: The path that answers 200 once it is ready; without one any answer counts.
        mark: Of a server that it ends with; without one it is ended by :meth:`end`, or with us.
        log_bytes: Size at which its log is rotated; 0: never.

    Raises:
        ServerError: It ended, or was not ready in time; the error has the end of its log.
    """

    end_seconds = 5.0

    def __init__(
        self,
        argv: Sequence[str],
        log: Path,
        address: str,
        ready: str = "",
        mark: str = "",
        *,
        log_bytes: int = 0,
    ) -> None:
        self.name = Path(argv[0]).name
        self.address = address
        self._log = log
        self._mark = mark or f"{self.name}-{uuid.uuid4().hex[:12]}"
        words = _bounded(argv, log, log_bytes) if log_bytes else argv
        try:
            self._pid = process.spawn(words, mark=self._mark, env={}, log_path=log)
        except OSError as error:
            raise ServerError(
                f"{self.name} cannot be started: {error.strerror or error}", where=argv[0]
            ) from None
        self._started = process.start_time(self._pid)
        self._guard: process.Guard | None = None
        try:
            self._guard = None if mark else self._guarded()
            self._wait(ready)
        except BaseException:
            self.end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return process.is_alive(self._pid, self._started)

    def end(self) -> None:
        """Stop it."""
        process.terminate(self._pid, self._started, self._mark, deadline=self.end_seconds)
        if self._guard:
            self._guard.release()

    def ask(self, path: str, method: str = "GET", *, seconds: float = 5) -> Response:
        """Return its answer to a request, whatever the status. WireError: there was none."""
        return run(_asked(self.address, path, method, seconds))

    def _guarded(self) -> process.Guard:
        return process.Guard.over(self._pid, self._started, self._mark, seconds=self.end_seconds)

    def _wait(self, ready: str) -> None:
        until = time.monotonic() + _START_SECONDS
        while not self._is_ready(ready):
            if not self.running:
                raise ServerError(f"{self.name} ended while it started", details=self._last_lines())
            if time.monotonic() > until:
                raise ServerError(
                    f"{self.name} was not ready after {_START_SECONDS:.0f} s",
                    where=self.address,
                    details=self._last_lines(),
                )
            time.sleep(_POLL)

    def _is_ready(self, path: str) -> bool:
        try:
            return self.ask(path or "/", seconds=1).good or not path
        except WireError:
            return False

    def _last_lines(self) -> tuple[str, ...]:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return tuple(lines[-5:])


def _bounded(argv: Sequence[str], log: Path, limit: int) -> list[str]:
    """Return the command line with its output copied to ``log`` as :mod:`rotating` does."""
    copying = [sys.executable, "-I", str(rotating.__file__), str(log), str(limit)]
    script = f'"$@" 2>&1 | {shlex.join(copying)}'
    return ["/bin/sh", "-c", script, "sh", *argv]


async def _asked(address: str, path: str, method: str, seconds: float) -> Response:
    async with TritonHttp(address, environment=False) as client:
        return await client.fetch(method, path, seconds=seconds)

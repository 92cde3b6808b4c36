"""Run programs to their end, with what they say on the way."""

from __future__ import annotations

import codecs
import io
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from trtbuild.endings import uninterrupted
from trtbuild.errors import BuildError
from trtbuild.process.programs import kill, merged, session_members

_POLL = 0.05
_LOOK_UP = 0.5
_PIPE = 1 << 16


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished program left. ``returncode`` is 124 when the time was up."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """It ended with 0."""
        return self.returncode == 0


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Result:
    """Run to the end and capture the output; 127 when there is no such program, 124 on timeout."""
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            check=False,
            cwd=cwd,
            encoding="utf-8",
            env=merged(env),
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        return Result(124, _text(error.stdout), f"no answer within {timeout:.0f} s")
    except OSError as error:
        return Result(127, "", f"{argv[0]}: {error.strerror or error}")
    return Result(done.returncode, done.stdout, done.stderr)


def run_lines(
    argv: Sequence[str],
    *,
    on_line: Callable[[str], None],
    log_path: Path,
    env: Mapping[str, str] | None = None,
) -> int:
    """Run to the end, each output line to ``on_line`` and to the end of ``log_path``.

    An exception on the way (Ctrl-C too) ends the program and its children before it goes on.
    """
    child: subprocess.Popen[bytes] | None = None
    with log_path.open("a", buffering=1, encoding="utf-8") as log:  # people watch it
        log.write(f"$ {' '.join(argv)}\n")
        try:
            with uninterrupted():  # a program whose number nobody knows would go on alone
                child = _talking(argv, env, log)
            for line in _lines(child):
                log.write(f"{line}\n")
                on_line(line.rstrip())
            while (code := child.poll()) is None:
                time.sleep(_POLL)
            return code
        except BaseException:
            if child:
                kill(session_members(child.pid))
                child.wait()
            raise


def _talking(
    argv: Sequence[str], env: Mapping[str, str] | None, log: TextIO
) -> subprocess.Popen[bytes]:
    """Start a program whose output comes through a pipe."""
    try:
        return subprocess.Popen(
            argv,
            bufsize=0,
            env=merged(env),
            start_new_session=True,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
    except OSError as error:
        log.write(f"{error}\n")
        raise BuildError(
            f"{argv[0]} could not be started: {error.strerror or error}",
            where=log.name,
            fix=f"install {Path(argv[0]).name}, or run this where it is on PATH",
        ) from None


def _lines(child: subprocess.Popen[bytes]) -> Iterator[str]:
    """The lines that a program writes, waited for in short pieces.

    A signal that comes between Python's last look for one and the system call that waits
    interrupts nothing: its handler would run after the next line, an hour later perhaps.
    """
    arrived: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(child, arrived), daemon=True).start()
    utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
    decoder = io.IncrementalNewlineDecoder(utf8, translate=True)  # progress ends lines by \r
    rest, chunk = "", b"?"
    while chunk:
        try:
            chunk = arrived.get(timeout=_LOOK_UP)
        except queue.Empty:
            continue
        *whole, rest = (rest + decoder.decode(chunk, final=not chunk)).split("\n")
        yield from whole
    if rest:
        yield rest


def _read(child: subprocess.Popen[bytes], arrived: queue.SimpleQueue[bytes]) -> None:
    """All output as it comes, then an empty piece. Unbuffered: a buffer's lock, held here while
    the interpreter goes down, would be fatal to it.
    """
    assert child.stdout is not None
    try:
        while chunk := child.stdout.read(_PIPE):
            arrived.put(chunk)
    finally:
        arrived.put(b"")


def _text(output: str | bytes | None) -> str:
    return output.decode("utf-8", "replace") if isinstance(output, bytes) else output or ""

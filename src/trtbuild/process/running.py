"""Run programs to completion and read their output."""

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
from trtbuild.process.guarding import Guard
from trtbuild.process.programs import kill, merged, session_members, start_time

_POLL = 0.05
_LOOK_UP = 0.5
_PIPE = 1 << 16


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a program. ``returncode`` is 124 after a timeout."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether the exit code is 0."""
        return self.returncode == 0


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str = "",
) -> Result:
    """Run to completion and capture the output; 127 without such a program, 124 on timeout."""
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            check=False,
            cwd=cwd,
            encoding="utf-8",
            env=merged(env),
            errors="replace",
            input=stdin,
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
    """Run to completion; pass each output line to ``on_line`` and append it to ``log_path``.

    An exception (also Ctrl-C) stops the program and its children before it propagates; if this
    process is killed, they are stopped, too.
    """
    child: subprocess.Popen[bytes] | None = None
    with log_path.open("a", 1, "utf-8", "replace") as log:  # shown live
        log.write(f"$ {' '.join(argv)}\n")
        try:
            with uninterrupted():  # a program without a known pid would keep running
                child = _talking(argv, env, log)
            with Guard.over(child.pid, start_time(child.pid)):
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
    """Start a program with its output in a pipe."""
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
    """Yield the lines of a program's output, with short timeouts.

    A signal that arrives between Python's last check and the blocking system call does not
    interrupt it: its handler would run only after the next line, maybe an hour later.
    """
    arrived: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(child, arrived), daemon=True).start()
    utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
    decoder = io.IncrementalNewlineDecoder(utf8, translate=True)  # progress ends lines with \r
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
    """Read all output as it comes, then an empty chunk. Unbuffered: a buffer's lock, held here at
    interpreter shutdown, would be fatal.
    """
    assert child.stdout is not None
    try:
        while chunk := child.stdout.read(_PIPE):
            arrived.put(chunk)
    finally:
        arrived.put(b"")


def _text(output: str | bytes | None) -> str:
    return output.decode("utf-8", "replace") if isinstance(output, bytes) else output or ""

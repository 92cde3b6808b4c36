"""Work on a hostile file in a child process, so that libraries that abort end only that.

One child does the work of a whole validation: a fork for each of 150 files costs seconds. It is
started with the first work, and again after one that ended it.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

_SECONDS = 20  # of processor time for one piece of work


@dataclass(frozen=True, slots=True)
class _Child:
    """A process that works, and the two ends of the pipes to it."""

    pid: int
    parent: int
    requests: BinaryIO
    answers: BinaryIO

    def end(self) -> None:
        """Close the pipes, on which it ends, and wait for that."""
        with contextlib.suppress(OSError):
            self.requests.close()
        self.answers.close()
        if self.parent == os.getpid():
            os.waitpid(self.pid, 0)


_running: list[_Child] = []
_depth = [0]


@contextlib.contextmanager
def one_child() -> Iterator[None]:
    """Keep the child for all :func:`apart` inside, and end it after the outermost."""
    _depth[0] += 1
    try:
        yield
    finally:
        _depth[0] -= 1
        if not _depth[0]:
            _end()


def apart(function: Callable[..., Any], *arguments: object) -> Any | None:
    """What ``function`` returns (something that JSON can say); None if it fails, takes more than
    20 seconds of processor time or ends its process. Both must be what pickle can pass on.

    Windows has no fork: there the work is done in this process, without these limits."""
    if not hasattr(os, "fork"):
        return _tried(function, *arguments)
    with one_child():
        if _running and _running[0].parent != os.getpid():
            _end()  # this process is a fork of the one that started it
        if not _running:
            _running.append(_start())
        child = _running[0]
        try:
            pickle.dump((function, arguments), child.requests)
            child.requests.flush()
            said = child.answers.readline()
        except BrokenPipeError:
            said = b""
        if not said.endswith(b"\n"):
            _end()
            return None
        return json.loads(said)


def _end() -> None:
    while _running:
        _running.pop().end()


def _start() -> _Child:
    reader, requests = os.pipe()
    answers, writer = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if not child:
        _serve(reader, writer)
    os.close(reader)
    os.close(writer)
    return _Child(child, parent, os.fdopen(requests, "wb"), os.fdopen(answers, "rb"))


def _serve(reader: int, writer: int) -> NoReturn:
    """In the child: work until the parent closes its pipe, and end without what Python does at its
    end. It holds nothing else of the parent's open, such as a lock or its output."""
    import faulthandler
    import resource  # Windows has no such module

    try:
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        low, high = sorted((reader, writer))
        for first, last in ((0, low), (low + 1, high), (high + 1, os.sysconf("SC_OPEN_MAX"))):
            os.closerange(first, last)
        for _ in range(3):
            os.open(os.devnull, os.O_RDWR)
        with os.fdopen(reader, "rb") as requests, os.fdopen(writer, "wb") as answers:
            while True:
                function, arguments = pickle.load(requests)  # noqa: S301 - the parent wrote it
                signal.setitimer(signal.ITIMER_PROF, _SECONDS)
                said = json.dumps(_tried(function, *arguments))
                signal.setitimer(signal.ITIMER_PROF, 0)
                answers.write(said.encode() + b"\n")
                answers.flush()
    finally:
        os._exit(0)


def _tried(function: Callable[..., Any], *arguments: object) -> Any | None:
    try:
        return function(*arguments)
    except Exception:
        return None

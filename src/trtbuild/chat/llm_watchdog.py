"""A limit on the time that a function takes in the thread that calls it.

Copied into model repositories together with ``llm_template.py``.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from typing import TypeVar

_POLL_SECONDS = 0.02
_T = TypeVar("_T")


def within(seconds: float, work: Callable[[], _T]) -> _T:
    """The result of ``work``.

    Raises:
        TimeoutError: It did not end in time.
    """
    deadline = _Deadline(seconds)
    try:
        try:
            _watchdog.add(deadline)
            result = work()
        except _TimeUp:
            raise
        except BaseException:
            deadline.end()
            raise
        deadline.end()
        return result
    except _TimeUp:
        raise TimeoutError(f"it did not end within {seconds:g} s") from None
    finally:
        _watchdog.remove(deadline)


class _TimeUp(BaseException):
    """Raised by the watchdog inside a template; ``except Exception`` does not catch it."""


class _Deadline:
    """When a thread must have ended its template.

    ``claim`` holds one item. The template takes it when it ends, the watchdog when time is up;
    popping is atomic, so only one of them gets it and no exception arrives too late.
    """

    def __init__(self, seconds: float) -> None:
        self.thread = threading.get_ident()
        self.at = time.monotonic() + seconds
        self.claim = [True]

    def end(self) -> None:
        """Take the claim; where the watchdog was faster, wait for its exception."""
        try:
            self.claim.pop()
        except IndexError:
            for _ in range(1000):
                time.sleep(0.001)

    def enforce(self) -> None:
        """Raise an error in the thread; its loop would occupy a core forever."""
        try:
            self.claim.pop()
        except IndexError:
            return
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(self.thread), ctypes.py_object(_TimeUp)
        )


class _Watchdog:
    """One thread for all templates; it sleeps while none is being rendered."""

    def __init__(self) -> None:
        self._running: set[_Deadline] = set()
        self._wake = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, deadline: _Deadline) -> None:
        """Watch it, from now on."""
        thread = self._thread
        if thread is None or not thread.is_alive():  # a fork does not copy threads
            self._start()
        self._running.add(deadline)
        if not self._wake.is_set():
            self._wake.set()

    def remove(self, deadline: _Deadline) -> None:
        """Forget it."""
        self._running.discard(deadline)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._running, self._wake = set(), threading.Event()
                self._thread = threading.Thread(
                    target=self._watch, name="chat-template-watchdog", daemon=True
                )
                self._thread.start()

    def _watch(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()  # before the look at what runs: add() does both the other way round
            while self._running:
                time.sleep(_POLL_SECONDS)
                now = time.monotonic()
                for deadline in [item for item in self._running.copy() if item.at < now]:
                    deadline.enforce()


_watchdog = _Watchdog()

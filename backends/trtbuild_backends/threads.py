"""Iterate in a thread, for adapters whose frameworks block."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Generic, TypeVar, cast

_Item = TypeVar("_Item")
_AHEAD = 64  # items that a thread may be ahead of its reader


async def iterate_in_thread(
    make: Callable[[threading.Event], Iterator[_Item]],
) -> AsyncIterator[_Item]:
    """Yield what an iterator yields in a thread of its own.

    Args:
        make: Returns the iterator, and gets an event that is set when the reader has left.
    """
    thread = _Thread(make)
    threading.Thread(target=thread.work, name="trtbuild-generate", daemon=True).start()
    try:
        while True:
            item, error = await thread.arrived.get()
            if error is not None:
                break
            thread.room.release()
            yield cast(_Item, item)
    finally:
        thread.left.set()
        thread.room.release()
    if not isinstance(error, _EndError):
        raise error


class _Thread(Generic[_Item]):
    """What the thread of an iterator shares with its reader."""

    def __init__(self, make: Callable[[threading.Event], Iterator[_Item]]) -> None:
        self.left = threading.Event()
        self.room = threading.Semaphore(_AHEAD)
        self.arrived: asyncio.Queue[tuple[_Item | None, BaseException | None]] = asyncio.Queue()
        self._make = make
        self._loop = asyncio.get_running_loop()

    def work(self) -> None:
        """Iterate."""
        try:
            for item in self._make(self.left):
                self.room.acquire()
                if self.left.is_set():
                    return
                self._give(item, None)
            self._give(None, _EndError())
        except BaseException as error:
            self._give(None, error)

    def _give(self, item: _Item | None, error: BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(self.arrived.put_nowait, (item, error))


class _EndError(Exception):
    """The end of an iterator, which cannot be sent as StopIteration."""

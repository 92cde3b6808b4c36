"""A coroutine that seldom waits, run without a task of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from types import CoroutineType
from typing import Any


def now_or_later(work: Awaitable[None]) -> Awaitable[None] | None:
    """Run what needs no waiting, outside of any task; return the rest if it must wait."""
    steps = work if isinstance(work, CoroutineType) else work.__await__()
    try:
        waits_for = steps.send(None)
    except StopIteration:
        return None
    return _finished(steps, waits_for)


async def _finished(
    steps: Generator[Any, None, None] | CoroutineType[Any, None, None], waits_for: Any
) -> None:
    while True:
        if waits_for is None:  # a bare yield: let others run
            await asyncio.sleep(0)
        else:
            # Whoever yields a future expects to be resumed once it is done.
            waits_for._asyncio_future_blocking = False
            await asyncio.wait((waits_for,))
        try:
            waits_for = steps.send(None)
        except StopIteration:
            return

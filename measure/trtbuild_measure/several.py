"""Many requests, several at a time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from trtbuild.progress import Progress

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


async def several(
    items: Sequence[_Item],
    ask: Callable[[_Item], Awaitable[_Made]],
    at_once: int,
    progress: Progress,
) -> list[_Made]:
    """Return what ``ask`` makes of each item, in order; the first error ends all.

    Args:
        items: What to ask about.
        ask: Sends one request.
        at_once: Requests in flight at a time.
        progress: Shown as requests.
    """
    free = asyncio.Semaphore(at_once)
    done = itertools.count(1)

    async def one(item: _Item) -> _Made:
        async with free:
            made = await ask(item)
        progress.advance(next(done), len(items), "requests")
        return made

    tasks = [asyncio.ensure_future(one(item)) for item in items]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

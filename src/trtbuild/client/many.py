"""Many requests, several at a time, with the answers in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from typing import Any, TypeVar

AT_ONCE = 16

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


async def in_order(
    ask: Callable[[Asked], Coroutine[Any, Any, Answered]], requests: Iterable[Asked]
) -> AsyncGenerator[Answered, None]:
    """Yield an answer to each request; closing the generator cancels those under way.

    The first error ends it: answers to earlier requests were yielded.
    """
    window: deque[asyncio.Task[Answered]] = deque()
    try:
        for request in requests:
            window.append(asyncio.create_task(ask(request)))
            if len(window) >= AT_ONCE:
                yield await window.popleft()
        while window:
            yield await window.popleft()
    finally:
        for one in window:
            one.cancel()
        await asyncio.gather(*window, return_exceptions=True)

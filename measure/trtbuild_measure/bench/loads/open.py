"""An open loop: requests are sent when they are due, whether or not earlier ones have ended.

Latencies count from the moment a request was due. If a server stalls for two seconds, every request
due in these two seconds shows it; a closed loop would have paused and missed it (coordinated
omission).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from trtbuild_measure.bench.loads.model import Control, Session, now
from trtbuild_measure.bench.model import Stream

# A timer of asyncio is up to a millisecond late (its selector rounds up). So the last stretch is
# spent in iterations of the event loop, which keep reading what arrives.
_COARSE = 0.0015
_CROWD = 20  # used as the number of clients when deciding whether a server is gone


async def open_loop(session: Session, offsets: Iterator[float]) -> None:
    """Send a request at each of ``offsets`` (seconds from now) until the gate closes."""
    start = now()
    async with asyncio.TaskGroup() as group:
        for offset in offsets:
            due = start + offset
            number = session.gate.take(due)
            if number is None:
                return
            stream = Stream(session.prompt(number), intended=due)
            await wait_until(due, session.control)
            if session.control.stopped:
                return
            group.create_task(session.ask(stream, measured=number >= 0, clients=_CROWD))


async def wait_until(moment: float, control: Control) -> None:
    """Wait until ``moment``, to within some ten microseconds while the loop is idle."""
    while (left := moment - now()) > 0 and not control.stopped:
        await asyncio.sleep(min(0.5, left - _COARSE) if left > _COARSE else 0)

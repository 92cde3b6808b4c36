"""A closed loop: a number of clients, each sending its next request once it is answered."""

from __future__ import annotations

import asyncio

from trtbuild_measure.bench.loads.model import Session, now
from trtbuild_measure.bench.model import Stream

# Minimum seconds for a failed request. A server that is gone, loading (503) or limiting its rate
# (429) answers at once; without a pause the client would spin and never respect the limit.
_BREATH = 0.05


async def closed_loop(session: Session, clients: int) -> None:
    """Keep ``clients`` requests in flight until the gate closes.

    Clients do not wait between warm-up and measurement, so no burst opens the window.
    """

    async def client() -> None:
        while not session.control.stopped:
            number = session.gate.take(now())
            if number is None:
                return
            prompt = session.prompt(number)
            stream = Stream(prompt, intended=now())
            await session.ask(stream, measured=number >= 0, clients=clients)
            if stream.error and (left := stream.intended + _BREATH - stream.ended) > 0:
                await asyncio.sleep(left)

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())

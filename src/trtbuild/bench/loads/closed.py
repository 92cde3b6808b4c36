"""A closed loop: a number of clients, each of which asks again once it is answered."""

from __future__ import annotations

import asyncio

from trtbuild.bench.loads.model import Session, now
from trtbuild.bench.model import Stream

# Seconds that a failed request takes at least. A server that is gone, that loads (503) or that says
# no (429) answers at once: it would be asked in a spin, and a limit of its rate never be kept.
_BREATH = 0.05


async def closed_loop(session: Session, clients: int) -> None:
    """Keep ``clients`` requests under way until the gate says that it is over.

    Between warm-up and measurement nobody waits: there is no burst when the window opens.
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

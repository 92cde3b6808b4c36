"""Events pushed in the moment in which they arrive: order, slow takers, failures, cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from support.scripted_http import END, STREAM, Scripted, answer, event, scripted
from trtbuild.wire.failures import DeadlineError, DroppedError, MalformedError, RefusedError
from trtbuild.wire.triton_http import TritonHttp


def pushed(*scripts: object, slow: bool = False, seconds: float = 180) -> tuple[list[bytes], int]:
    """All events of a stream, and how often the server lost its client."""

    async def run() -> tuple[list[bytes], int]:
        taken: list[bytes] = []
        busy = False

        async def later(events: list[bytes]) -> None:
            nonlocal busy
            assert not busy
            busy = True
            await asyncio.sleep(0.001)
            taken.extend(events)
            busy = False

        def take(events: list[bytes]) -> Awaitable[None] | None:
            if slow:
                return later(events)
            taken.extend(events)
            return None

        async with scripted(*scripts) as server, TritonHttp(server.url) as client:  # type: ignore[arg-type]
            await client.push_events("POST", "/x", take, seconds=seconds)
            return taken, server.left

    return asyncio.run(run())


@pytest.mark.parametrize("slow", [False, True])
def test_every_event_comes_once_and_in_order(slow: bool) -> None:
    script = [STREAM, *[event(str(number)) for number in range(500)], 0.01, event("last"), END]
    taken, _ = pushed(script, slow=slow)
    assert taken == [*(str(number).encode() for number in range(500)), b"last"]


def test_a_slow_taker_stops_the_reading() -> None:
    """While the first events are being taken, the connection is not read."""

    async def run(server: Scripted) -> int:
        free = asyncio.Event()
        most = 0

        async def later() -> None:
            await free.wait()

        def take(events: list[bytes]) -> Awaitable[None] | None:
            nonlocal most
            most = max(most, len(events))
            return later()

        async with TritonHttp(server.url) as client:
            pushing = asyncio.create_task(client.push_events("POST", "/x", take))
            await asyncio.sleep(0.3)
            free.set()
            await pushing
        return most

    async def main() -> int:
        script = [STREAM, *[event("x" * 1000)] * 20_000, END]
        async with scripted(script) as server:
            return await run(server)

    assert asyncio.run(main()) < 5000  # what reads of a socket can hold, not the whole


def test_failures() -> None:
    with pytest.raises(DroppedError):
        pushed([STREAM, event("a"), "close"])
    with pytest.raises(DeadlineError):
        pushed([STREAM, event("a"), "hold"], seconds=0.1)
    with pytest.raises(MalformedError):
        pushed([answer(b"{}")])
    with pytest.raises(RefusedError):
        pushed([b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n"])


def test_an_error_of_the_taker_ends_the_request() -> None:
    async def run() -> int:
        def take(_: list[bytes]) -> None:
            raise KeyError("mine")

        async with scripted([STREAM, event("a"), "hold"]) as server:
            async with TritonHttp(server.url) as client:
                with pytest.raises(KeyError, match="mine"):
                    await client.push_events("POST", "/x", take)
                await server.lost(1)
            return server.left

    assert asyncio.run(run()) == 1


def test_cancelling_closes_the_connection() -> None:
    async def run() -> int:
        async with scripted([STREAM, event("a"), "hold"]) as server:
            async with TritonHttp(server.url) as client:
                arrived = asyncio.Event()
                pushing = asyncio.create_task(
                    client.push_events("POST", "/x", lambda _: arrived.set())
                )
                await arrived.wait()
                pushing.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await pushing
                await server.lost(1)
            return server.left

    assert asyncio.run(run()) == 1

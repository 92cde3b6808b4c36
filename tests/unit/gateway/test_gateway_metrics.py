"""The metrics say what happened, where a simpler figure would not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from support.fake_triton import FakeTriton, said, words
from support.gateways import Served, in_front
from support.scripted_http import END, STREAM, answer

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
PATH = "/v1/chat/completions"
FIRST, EACH, WHOLE = (
    f"gen_ai_server_{what}_seconds"
    for what in ("time_to_first_token", "time_per_output_token", "request_duration")
)


async def figures(served: Served, name: str) -> dict[tuple[str, ...], float]:
    """The values of a metric, by the values of its labels."""
    page = (await served.client.get("/metrics")).text
    samples = [s for family in text_string_to_metric_families(page) for s in family.samples]
    return {tuple(s.labels.values()): s.value for s in samples if s.name == name}


async def times(served: Served, name: str) -> tuple[float, float]:
    """How many observations a histogram has, and their sum."""
    found = [await figures(served, f"{name}_{what}") for what in ("count", "sum")]
    count, total = (sum(values.values()) for values in found)
    return count, total


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(180):
        while not condition():
            await asyncio.sleep(0.005)


def test_the_first_token_is_none_of_the_chunks_before_it() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        await served.post(PATH, **CHAT, stream=True)
        (count, first), (_, whole) = await times(served, FIRST), await times(served, WHOLE)
        assert (count, first > whole - 0.3) == (1, True), (first, whole)

    in_front(test, script=[STREAM, said("", tokens=0), 0.4, said("a"), said("b", "stop"), END])


def test_the_time_of_a_token_is_that_between_two_of_one_answer() -> None:
    """Neither tokens that came together, nor other answers, nor the end make it look shorter."""

    async def test(_: FakeTriton, served: Served) -> None:
        await served.post(PATH, **CHAT, stream=True, n=3)
        count, each = await times(served, EACH)
        assert (count, each >= 0.09) == (1, True), each
        (_, first), (_, whole) = await times(served, FIRST), await times(served, WHOLE)
        assert 2 * each < whole - first - 0.2, "the silence at the end is counted"

    end = [0.4, said("", "stop", tokens=0), END]
    in_front(test, script=[STREAM, said("abc", tokens=3), 0.1, said("d"), 0.1, said("e"), *end])


def test_an_answer_that_is_no_stream_has_no_times_of_tokens() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        for path, more in ((PATH, CHAT), ("/v1/responses", {"model": "m", "input": "Hello"})):
            assert (await served.post(path, **more)).status_code == 200
        assert await times(served, FIRST) == await times(served, EACH) == (0, 0)
        count, _total = await times(served, WHOLE)
        assert count == 2

    in_front(test, script=[STREAM, said("abc", "stop", tokens=3), END])


def test_a_prompt_that_nobody_read_has_used_no_tokens() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        await served.post(PATH, **CHAT)
        assert await figures(served, "gen_ai_client_token_usage_total") == {}
        triton.scripts["m"] = [STREAM, said("a"), "reset"]
        await served.post(PATH, **CHAT, stream=True)
        used = await figures(served, "gen_ai_client_token_usage_total")
        assert min(used.values()) == 1
        assert len(used) == 2

    in_front(test, script=[answer(b'{"error": "busy"}', 503)], routing={"retries": 0})


def test_in_flight_and_waiting_requests_are_counted_and_let_go() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        async def now() -> tuple[float, float]:
            found = [
                await figures(served, f"trtbuild_gateway_requests_{what}")
                for what in ("in_flight", "waiting")
            ]
            in_flight, waiting = (sum(values.values()) for values in found)
            return in_flight, waiting

        assert await now() == (0, 0)
        first = asyncio.create_task(served.post(PATH, **CHAT, stream=True))
        await until(lambda: bool(triton.bodies))
        (pool,) = served.gateway.catalog.pools
        second = asyncio.create_task(served.post(PATH, **CHAT, stream=True))
        await until(lambda: bool(pool.waiting))
        assert await now() == (2, 1)
        refused = await served.post(PATH, **{**CHAT, "model": "none"})
        assert refused.status_code == 404
        assert await now() == (2, 1)
        for one in (first, second):  # both clients leave
            one.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        async with asyncio.timeout(180):
            while await now() != (0, 0):
                await asyncio.sleep(0.005)
        requests = await figures(served, "trtbuild_gateway_requests_total")
        left = [value for labels, value in requests.items() if "client_left" in labels]
        assert left == [2]

    in_front(test, script=[STREAM, said("a"), 60, END], routing={"most_in_flight": 1})


def test_an_answer_is_counted_by_the_status_that_was_sent() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        triton.control = lambda _name, _what: [0.2, answer(b"")]
        begun = await served.control.post("/v1/model/load", json={"model": "m", "wait": False})
        requests = await figures(served, "trtbuild_gateway_requests_total")
        assert begun.status_code == 202
        assert [labels for labels in requests if "202" in labels] == list(requests)

    in_front(test, script=words("a"))

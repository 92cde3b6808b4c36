"""Limits of keys: windows, reservations, open requests; in the process and in a real Valkey."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.access import USER, add_key, bearer
from support.fake_triton import FakeTriton, said, words
from support.gateways import Served, in_front, run_as_served
from support.scripted_http import END, STREAM
from support.valkey import Valkey, valkey
from trtbuild_gateway.access.counting import LocalStore, Store, Wanted
from trtbuild_gateway.access.keys import id_of
from trtbuild_gateway.access.limiting import duration
from trtbuild_gateway.access.redis_store import RedisStore
from trtbuild_gateway.access_settings import Limits, RedisSettings

CHAT: dict[str, Any] = {"model": "m", "messages": [USER]}
PROMPT = 18  # tokens of CHAT
SPAN = 600  # milliseconds of the windows that are waited for
MINUTE = 60_000


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with valkey() as found:
        yield found


def requests(amount: int, most: int, span: int = SPAN) -> Wanted:
    return Wanted("requests_per_minute", amount, most, span)


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 4)), max_size=40))
def test_no_window_of_any_place_holds_more_than_the_limit(arrivals: list[tuple[int, int]]) -> None:
    now, most, admitted = 0.0, 6, list[tuple[float, int]]()
    store = LocalStore(lambda: now)

    async def run() -> None:
        nonlocal now
        for number, (pause, amount) in enumerate(arrivals):
            now += pause
            one = Wanted("tokens_per_minute", amount, most, 60_000)
            found = await store.reserve("k", [one], None, str(number))
            if found.granted:
                admitted.append((now, amount))
            else:
                # It says when: then it fits, if nobody else comes.
                later, before = now + found.rows[0].wait / 1000, now
                held = sum(size for at, size in admitted if later - at < 59)
                assert held + amount <= most
                now = before
        for at, _ in admitted:
            assert sum(size for other, size in admitted if at <= other < at + 60) <= most

    asyncio.run(run())


@contextlib.asynccontextmanager
async def store_of(kind: str, server: Valkey, lease: float = 60) -> AsyncIterator[Store]:
    prefix = f"t{time.monotonic_ns()}"
    settings = RedisSettings(server.url, prefix=prefix, seconds=60)
    made = LocalStore() if kind == "local" else RedisStore(settings, lease_seconds=lease)
    try:
        yield made
    finally:
        await made.close()


@pytest.mark.parametrize("kind", ["local", "redis"])
def test_both_stores_keep_one_contract(kind: str, server: Valkey) -> None:
    async def run() -> None:
        async with store_of(kind, server) as store:
            one = requests(1, 3, MINUTE)
            taken = [await store.reserve("k", [one], None, str(n)) for n in range(3)]
            assert [made.granted for made in taken] == [True] * 3
            assert [made.rows[0].used for made in taken] == [0, 1, 2]
            refused = await store.reserve("k", [one], None, "refused")
            assert (refused.granted, refused.full) == (False, False)
            assert 0 < refused.rows[0].wait <= MINUTE * 61 / 60
            assert 0 < refused.rows[0].reset <= MINUTE * 61 / 60
            assert (await store.reserve("other", [one], None, "x")).granted
            # What is given back is free at once, and never more than was taken.
            slot = taken[0].rows[0].slot
            await store.settle("k", [one._replace(amount=-1)], [slot], "0")
            again = await store.reserve("k", [one], None, "again")
            assert (again.granted, again.rows[0].used) == (True, 2)
            await store.settle("other", [one._replace(amount=-9)], [slot], "x")
            assert (await store.reserve("other", [one], None, "y")).rows[0].used in (0, 1)
            # More may be used than was reserved.
            await store.settle("k", [one._replace(amount=5)], [again.rows[0].slot], "again")
            assert (await store.reserve("k", [one], None, "late")).rows[0].used == 8
            # Several limits take all or nothing.
            two = [requests(1, 3, MINUTE), Wanted("tokens_per_day", 7, 20, 86_400_000)]
            both = [await store.reserve("two", two, None, str(n)) for n in range(3)]
            assert [[row.used for row in made.rows] for made in both] == [[0, 0], [1, 7], [2, 14]]
            assert [made.granted for made in both] == [True, True, False]
            slots = [row.slot for row in both[0].rows]
            changes = [two[0]._replace(amount=0), two[1]._replace(amount=-3)]
            await store.settle("two", changes, slots, "0")
            assert (await store.reserve("two", two, None, "3")).granted
            # After its time everything is free.
            short = requests(3, 3, SPAN)
            assert (await store.reserve("s", [short], None, "first")).granted
            deadline = time.monotonic() + 180
            while not (await store.reserve("s", [short], None, "late")).granted:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)

    run_as_served(run())


@pytest.mark.parametrize("kind", ["local", "redis"])
def test_open_requests_are_counted_by_their_lease(kind: str, server: Valkey) -> None:
    async def run() -> None:
        async with store_of(kind, server) as store:
            assert (await store.reserve("k", [], 2, "a")).granted
            assert (await store.reserve("k", [], 2, "b")).granted
            full = await store.reserve("k", [], 2, "c")
            assert (full.granted, full.full) == (False, True)
            await store.settle("k", [], [], "a")
            await store.settle("k", [], [], "a")
            assert (await store.reserve("k", [], 2, "c")).granted
            assert (await store.reserve("k", [], 2, "d")).full

    run_as_served(run())


def test_open_requests_of_a_gateway_that_died_are_forgotten(server: Valkey) -> None:
    async def run() -> None:
        async with store_of("redis", server, lease=0.3) as store:
            assert (await store.reserve("k", [], 1, "a")).granted
            deadline = time.monotonic() + 180
            while not (await store.reserve("k", [], 1, "b")).granted:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)

    run_as_served(run())


def test_replicas_together_admit_exactly_the_limit(server: Valkey) -> None:
    async def run() -> None:
        async with contextlib.AsyncExitStack() as stack:
            settings = RedisSettings(server.url, prefix="exact", seconds=60)
            stores = [RedisStore(settings, lease_seconds=60) for _ in range(4)]
            for store in stores:
                stack.push_async_callback(store.close)
            asked = [
                store.reserve("k", [requests(1, 50, 60_000)], 30, f"{at} {number}")
                for at, store in enumerate(stores)
                for number in range(40)
            ]
            found = await asyncio.gather(*asked)
            assert sum(one.granted for one in found) == 30
            await asyncio.gather(
                *(stores[0].settle("k", [], [], f"{at} {n}") for at in range(4) for n in range(40))
            )
            more = await asyncio.gather(
                *(
                    s.reserve("k", [requests(1, 50, 60_000)], 30, f"m{n}")
                    for n in range(9)
                    for s in stores
                )
            )
            assert sum(one.granted for one in more) == 20

    run_as_served(run())


async def ask(served: Served, key: str, **more: Any) -> httpx.Response:
    body = {**CHAT, **more}
    return await served.client.post("/v1/chat/completions", json=body, headers=bearer(key))


def test_a_request_reserves_what_it_may_use_and_pays_what_it_used(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = add_key(file, limits=Limits(tokens_per_minute=62, requests_per_day=100))

    async def test(triton: FakeTriton, served: Served) -> None:
        first = await ask(served, key, max_tokens=40)
        used = first.json()["usage"]
        assert (used["prompt_tokens"], used["completion_tokens"]) == (PROMPT, 3)
        left = {name[12:]: first.headers[name] for name in first.headers if "ratelimit" in name}
        assert left.pop("reset-tokens")[-1] == "s"
        assert left.pop("reset-requests").startswith("24h")
        assert left == {
            "limit-tokens": "62",
            "remaining-tokens": str(62 - PROMPT - 40),
            "limit-requests": "100",
            "remaining-requests": "99",
        }
        second = await ask(served, key, max_tokens=20, stream=True)
        assert second.headers["x-ratelimit-remaining-tokens"] == str(62 - PROMPT - 3 - PROMPT - 20)
        third = await ask(served, key, max_tokens=20)
        error = third.json()["error"]
        assert (third.status_code, error["code"]) == (429, "rate_limit_exceeded")
        assert error["message"].startswith("the limit of 62 tokens per minute is reached for ")
        assert 50 <= int(third.headers["retry-after"]) <= 61
        assert third.headers["x-ratelimit-remaining-tokens"] == str(62 - 2 * (PROMPT + 3))
        never = await ask(served, key, max_tokens=45)
        assert (never.status_code, never.json()["error"]["code"]) == (400, "tokens_exceed_limit")
        assert (await ask(served, key, max_tokens=2)).status_code == 200
        assert len(triton.bodies) == 3

    in_front(test, access={"keys": str(file)})


def test_requests_and_open_streams_are_limited_by_key(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    first = add_key(file, limits=Limits(concurrent=2))
    second = add_key(file, "second")

    async def test(triton: FakeTriton, served: Served) -> None:
        same = {**bearer(first), "x-request-id": "same"}
        body = {**CHAT, "stream": True}
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(2):
                stream = served.client.stream(
                    "POST", "/v1/chat/completions", json=body, headers=same
                )
                assert (await stack.enter_async_context(stream)).status_code == 200
            refused = await ask(served, first)
            assert refused.status_code == 429
            assert "2 requests are open" in refused.json()["error"]["message"]
            assert refused.headers["retry-after"] == "1"
            # The common limits are for the keys without limits of their own.
            assert (await ask(served, second, stream=True)).status_code == 200
            assert (await ask(served, second)).status_code == 429
        async with asyncio.timeout(180):  # clients that leave free their places
            while (await ask(served, first, stream=True)).status_code != 200:
                await asyncio.sleep(0.02)

    held = [[STREAM, said("a"), "hold"]] * 2
    access = {"keys": str(file), "limits": {"requests_per_minute": 1}}
    in_front(test, script=lambda _: held.pop() if held else words("a"), access=access)


@pytest.mark.parametrize(("on_failure", "status"), [("refuse", 503), ("admit", 200)])
def test_redis_gone(
    on_failure: str, status: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys.json"
    key = add_key(file)
    free = add_key(file, "free", limits=Limits())

    async def test(triton: FakeTriton, served: Served) -> None:
        for _ in range(3):
            answer = await ask(served, key)
            assert answer.status_code == status
        if status == 503:
            assert answer.json()["error"]["code"] == "limits_unavailable"
            assert int(answer.headers["retry-after"]) >= 1
        assert (await ask(served, free)).status_code == 200
        said = [one for one in caplog.messages if "Redis cannot be reached" in one]
        assert len(said) == 1

    limits = {"requests_per_minute": 100}
    redis = {"url": "redis://127.0.0.1:1/0", "on_failure": on_failure}
    in_front(test, access={"keys": str(file), "limits": limits, "redis": redis})


@pytest.mark.slow
def test_redis_goes_in_the_middle_of_a_stream_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys.json"
    key = add_key(file, limits=Limits(concurrent=1, tokens_per_minute=1000))
    monkeypatch.setenv("TRTBUILD_REDIS_PASSWORD", "a-secret")
    with contextlib.ExitStack() as servers:
        first = servers.enter_context(valkey(password="a-secret"))

        async def test(triton: FakeTriton, served: Served) -> None:
            stream = asyncio.create_task(ask(served, key, stream=True))
            async with asyncio.timeout(180):
                while not triton.bodies:
                    await asyncio.sleep(0.01)
            assert (await ask(served, key)).status_code == 429
            first.process.kill()
            first.process.wait()
            may.set()
            assert "[DONE]" in (await stream).text
            assert (await ask(served, key)).status_code == 503
            servers.enter_context(valkey(first.port, "a-secret"))
            assert (await ask(served, key)).status_code == 200

        may = asyncio.Event()
        script = [STREAM, said("a"), may, said("b", "stop"), END]
        access = {"keys": str(file), "redis": {"url": first.url}}
        in_front(test, script=script, access=access)


def test_the_message_names_the_key_and_not_its_secret(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = add_key(file, limits=Limits(requests_per_minute=1))

    async def test(_: FakeTriton, served: Served) -> None:
        await ask(served, key)
        message = (await ask(served, key)).json()["error"]["message"]
        assert id_of(key) in message
        assert key.split("-", 2)[2] not in message

    in_front(test, access={"keys": str(file)})


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [(250, "250ms"), (1000, "1s"), (1001, "2s"), (60_000, "1m"), (3_723_000, "1h2m3s")],
)
def test_durations(milliseconds: int, shown: str) -> None:
    assert duration(milliseconds) == shown

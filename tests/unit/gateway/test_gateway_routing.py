"""Several servers behind one name: which one answers, and what happens when one fails."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx
import pytest

from support.fake_triton import FakeTriton, fake_triton, said, words
from support.gateways import Served, run_as_served, serving, tokenizer
from support.scripted_http import END, STREAM, answer, event, scripted
from trtbuild_gateway import running
from trtbuild_gateway.upstream import catalog

Test = Callable[[list[FakeTriton], Served], Awaitable[None]]
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
GOOD = words("Hel", "lo")
REFUSED = answer(b'{"error": "busy"}', 503)


def behind(*scripts: Any, **settings: Any) -> Callable[[Test], None]:
    """Run a test with a gateway in front of one server for each script."""

    def run(test: Test) -> None:
        async def main() -> None:
            async with contextlib.AsyncExitStack() as stack:
                tritons = [
                    await stack.enter_async_context(fake_triton(m=script)) for script in scripts
                ]
                models = {"m": {"tokenizer": str(tokenizer()), "context_length": 64}}
                servers = [triton.url for triton in tritons]
                made = serving(servers[0], **{"servers": servers, "models": models, **settings})
                served = await stack.enter_async_context(made)
                await served.gateway.catalog.refresh()
                await test(tritons, served)

        run_as_served(main())

    return run


async def page(served: Served) -> str:
    return (await served.client.get("/metrics")).text


def counts(tritons: Sequence[FakeTriton]) -> list[int]:
    return [len(triton.bodies) for triton in tritons]


def test_requests_follow_the_load_and_the_weights() -> None:
    async def run() -> None:
        async with fake_triton(m=GOOD) as first, fake_triton(m=GOOD) as second:
            servers = [first.url, {"url": second.url, "weight": 2}]
            async with serving(first.url, servers=servers) as served:
                for _ in range(6):
                    answered = await served.post("/v1/completions", model="m", prompt="x")
                    assert answered.status_code == 200
                assert counts([first, second]) == [2, 4]
                first.scripts = {"m": [STREAM, "hold"]}
                second.scripts = {"m": [STREAM, "hold"]}
                asked = [
                    asyncio.create_task(served.post("/v1/completions", model="m", prompt="x"))
                    for _ in range(6)
                ]
                async with asyncio.timeout(180):
                    while sum(counts([first, second])) < 12:
                        await asyncio.sleep(0.01)
                assert counts([first, second]) == [4, 8]
                assert (
                    f'server_requests_in_flight{{model="m",server="{second.url}"}} 4.0'
                    in await page(served)
                )
                for one in asked:
                    one.cancel()

    run_as_served(run())


BEFORE_THE_FIRST_TOKEN: dict[str, list[Any]] = {
    "closed": [STREAM, "close"],
    "reset": [STREAM, "reset"],
    "cut": [STREAM, END],
    "busy": [REFUSED],
    "dead engine": [STREAM, event('{"error": "EngineDeadError"}'), END],
    "unloaded": [answer(b'{"error": "Request for unknown model: \'m\' is not found"}', 400)],
    "stalled": [STREAM, "hold"],
}


@pytest.mark.parametrize("bad", BEFORE_THE_FIRST_TOKEN.values(), ids=BEFORE_THE_FIRST_TOKEN)
def test_another_server_answers_what_failed_before_its_first_token(bad: list[Any]) -> None:
    async def test(tritons: list[FakeTriton], served: Served) -> None:
        answered = await served.post("/v1/chat/completions", **CHAT, stream=True)
        assert answered.status_code == 200, answered.text
        assert answered.text.endswith("data: [DONE]\n\n")
        assert "error" not in answered.text
        assert counts(tritons) == [1, 1]
        assert f'server_retries_total{{model="m",server="{tritons[0].url}"}} 1.0' in await page(
            served
        )

    behind(bad, GOOD, routing={"first_token_seconds": 0.2})(test)


FINAL: dict[str, tuple[list[Any], int]] = {
    "wrong": ([answer(b'{"error": "x exceeds max length of 5"}', 400)], 400),
    "unknown": ([answer(b'{"error": "something else"}', 500)], 500),
    "after the first token": ([STREAM, said("Hel"), "reset"], 502),
}


@pytest.mark.parametrize(("bad", "status"), FINAL.values(), ids=FINAL)
def test_nothing_else_is_tried_again(bad: list[Any], status: int) -> None:
    async def test(tritons: list[FakeTriton], served: Served) -> None:
        answered = await served.post("/v1/chat/completions", **CHAT)
        assert (answered.status_code, counts(tritons)) == (status, [1, 0])

    behind(bad, GOOD)(test)


def test_retries_are_limited_to_a_share_of_the_requests() -> None:
    async def test(tritons: list[FakeTriton], served: Served) -> None:
        answered = [await served.post("/v1/chat/completions", **CHAT) for _ in range(30)]
        refused = [one for one in answered if one.status_code == 503]
        assert sum(counts(tritons)) - 30 == 10  # those that are free at the beginning
        assert refused

    routing = {"retry_share": 0, "breaker": {"failures": 99, "window": 99}}
    behind([REFUSED], GOOD, routing=routing)(test)


def test_a_server_that_goes_is_not_missed_and_comes_back() -> None:
    async def run() -> None:
        async with contextlib.AsyncExitStack() as stack:
            first = await stack.enter_async_context(fake_triton(m=GOOD))
            other = contextlib.AsyncExitStack()
            second = await other.enter_async_context(fake_triton(m=GOOD))
            made = serving(first.url, servers=[first.url, second.url])
            served = await stack.enter_async_context(made)
            await served.gateway.catalog.refresh()
            await other.aclose()
            for _ in range(4):
                answered = await served.post("/v1/completions", model="m", prompt="x")
                assert answered.status_code == 200
            await served.gateway.catalog.refresh()
            assert f'server_up{{model="m",server="{second.url}"}} 0.0' in await page(served)
            assert len(first.bodies) == 4

    run_as_served(run())


@pytest.mark.parametrize(
    ("script", "settings", "code"),
    [
        ([STREAM, "hold"], {"routing": {"first_token_seconds": 0.2}}, "first_token_timeout"),
        (
            [STREAM, said("a"), "hold"],
            {"routing": {"token_seconds": 0.2}},
            "token_timeout",
        ),
        ([STREAM, said("a"), 0.2, said("b"), "hold"], {"seconds": 1.0}, "upstream_timeout"),
    ],
)
def test_each_phase_has_its_own_error(
    script: list[Any], settings: dict[str, Any], code: str
) -> None:
    async def test(tritons: list[FakeTriton], served: Served) -> None:
        answered = await served.post("/v1/chat/completions", **CHAT, stream=True)
        assert f'"code":"{code}"' in answered.text
        assert answered.status_code == (504 if code == "first_token_timeout" else 200)
        async with asyncio.timeout(180):
            while not tritons[0].left:
                await asyncio.sleep(0.01)

    behind(script, **settings)(test)


def test_a_breaker_opens_and_one_request_tries_whether_to_close_it() -> None:
    async def test(tritons: list[FakeTriton], served: Served) -> None:
        for _ in range(2):
            assert (await served.post("/v1/chat/completions", **CHAT)).status_code == 502
        for _ in range(3):
            refused = await served.post("/v1/chat/completions", **CHAT)
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "no_healthy_server"
            assert "broke off its answer" in refused.json()["error"]["message"]
            assert int(refused.headers["retry-after"]) >= 1
        assert counts(tritons) == [2]
        assert "breaker_state" in await page(served)
        tritons[0].scripts = {"m": [STREAM, 0.2, *GOOD[1:]]}
        (pool,) = served.gateway.catalog.pools
        pool.servers[0].breaker._clock = lambda: time.monotonic() + 600
        async with asyncio.timeout(180):
            while (await served.post("/v1/chat/completions", **CHAT)).status_code != 200:
                await asyncio.sleep(0.05)
        both = [served.post("/v1/chat/completions", **CHAT) for _ in range(2)]
        assert [one.status_code for one in await asyncio.gather(*both)] == [200, 200]

    behind([STREAM, "reset"], routing={"breaker": {"failures": 2, "seconds": 600}})(test)


def test_a_server_that_answers_with_errors_is_still_asked_if_there_is_no_other() -> None:
    async def test(tritons: list[FakeTriton], served: Served) -> None:
        for _ in range(5):
            answered = await served.post("/v1/chat/completions", **CHAT)
            assert (answered.status_code, "engine broke" in answered.text) == (500, True)
        assert counts(tritons) == [5]

    script = [STREAM, event('{"error": "the engine broke"}'), END]
    behind(script, routing={"breaker": {"failures": 2}})(test)


def test_what_is_not_the_servers_fault_opens_no_breaker() -> None:
    async def test(tritons: list[FakeTriton], served: Served) -> None:
        for _ in range(3):
            assert (await served.post("/v1/chat/completions", **CHAT)).status_code == 400
        tritons[0].scripts = {"m": [STREAM, said("a"), "hold"]}
        for _ in range(3):
            with pytest.raises(httpx.TimeoutException):
                await served.client.post("/v1/chat/completions", json=CHAT, timeout=0.1)
        assert f'breaker_state{{model="m",server="{tritons[0].url}"}} 0.0' in await page(served)

    wrong = [answer(b'{"error": "x exceeds max length of 5"}', 400)]
    behind(wrong, routing={"breaker": {"failures": 2}})(test)


def test_requests_wait_in_a_bounded_queue() -> None:
    async def test(tritons: list[FakeTriton], served: Served) -> None:
        asked = []
        for number in range(3):
            asked.append(asyncio.create_task(served.post("/v1/chat/completions", **CHAT)))
            async with asyncio.timeout(180):
                while (
                    sum(pool.waiting + pool.refused for pool in served.gateway.catalog.pools)
                    < (number)
                    or not tritons[0].bodies
                ):
                    await asyncio.sleep(0.005)
        refused = await asked[2]
        may.set()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        assert [(await one).status_code for one in asked[:2]] == [200, 200]
        assert 'requests_shed_total{model="m"} 1.0' in await page(served)

    may = asyncio.Event()
    script = [STREAM, may, *GOOD[1:]]
    behind(script, routing={"most_in_flight": 1, "most_waiting": 1})(test)


@pytest.mark.slow
def test_a_request_that_leaves_the_queue_takes_no_place() -> None:
    async def test(tritons: list[FakeTriton], served: Served) -> None:
        first = asyncio.create_task(served.post("/v1/chat/completions", **CHAT))
        async with asyncio.timeout(180):
            while not tritons[0].bodies:
                await asyncio.sleep(0.005)
        with pytest.raises(httpx.TimeoutException):
            await served.client.post("/v1/chat/completions", json=CHAT, timeout=0.05)
        late = await served.post("/v1/chat/completions", **CHAT)
        assert (late.status_code, late.json()["error"]["code"]) == (503, "overloaded")
        assert "no server was free for 0.2 s" in late.json()["error"]["message"]
        may.set()
        assert (await first).status_code == 200
        assert (await served.post("/v1/chat/completions", **CHAT)).status_code == 200
        (pool,) = served.gateway.catalog.pools
        assert (pool.waiting, pool.servers[0].in_flight, len(tritons[0].bodies)) == (0, 0, 2)

    may = asyncio.Event()
    script = [STREAM, may, *GOOD[1:]]
    behind(script, routing={"most_in_flight": 1, "waiting_seconds": 0.2})(test)


@pytest.mark.parametrize("choice", ["prefix", "sticky"])
def test_requests_that_belong_together_go_to_one_server(choice: str) -> None:
    async def test(tritons: list[FakeTriton], served: Served) -> None:
        for key in "abcdefgh":
            before = counts(tritons)
            for _ in range(3):
                messages = [{"role": "user", "content": key if choice == "prefix" else "x"}]
                body = {**CHAT, "messages": messages, "user": key}
                assert (await served.post("/v1/chat/completions", **body)).status_code == 200
            grown = [now - then for now, then in zip(counts(tritons), before, strict=True)]
            assert sorted(grown) == [0, 0, 3]

    behind(GOOD, GOOD, GOOD, routing={"choice": choice})(test)


def test_two_versions_of_a_model_share_its_users() -> None:
    async def run() -> None:
        async with fake_triton(old=words("old"), new=words("new"), other=GOOD) as triton:
            servers = [{"url": triton.url, "upstream": name} for name in ("old", "new")]
            models = {"chat": {"servers": servers}}
            async with serving(triton.url, models=models, routing={"choice": "sticky"}) as served:
                rows = (await served.client.get("/v1/models")).json()["data"]
                assert [row["id"] for row in rows] == ["chat", "other"]
                texts: dict[str, set[str]] = {}
                for user in [f"user {number}" for number in range(30)] * 2:
                    body = {"model": "chat", "prompt": "x", "user": user}
                    answered = await served.post("/v1/completions", **body)
                    texts.setdefault(user, set()).add(answered.json()["choices"][0]["text"])
                assert {len(one) for one in texts.values()} == {1}
                assert set.union(*texts.values()) == {"old", "new"}

    run_as_served(run())


def test_a_session_stays_in_the_gateway() -> None:
    async def test(tritons: list[FakeTriton], served: Served) -> None:
        headers = {"x-session-id": "s1"}
        answered = await served.client.post("/v1/chat/completions", json=CHAT, headers=headers)
        assert answered.status_code == 200
        assert "x-session-id" not in tritons[0].heads[-1]

    behind(GOOD, routing={"choice": "sticky"})(test)


def test_a_server_with_another_kind_of_model_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with fake_triton(m=GOOD) as first, fake_triton(m=GOOD) as second:
            second.spec = (second.spec[0][:-1], second.spec[1])
            async with serving(first.url, servers=[first.url, second.url]) as served:
                for _ in range(4):
                    answered = await served.post("/v1/completions", model="m", prompt="x")
                    assert answered.status_code == 200
                assert counts([first, second]) == [4, 0]
        assert f"{second.url} is left out" in caplog.text

    run_as_served(run())


def test_a_drain_answers_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_REFUSING_SECONDS", 0.1)

    async def test(tritons: list[FakeTriton], served: Served) -> None:
        asked = [
            asyncio.create_task(served.post("/v1/chat/completions", **CHAT, stream=True))
            for _ in range(2)
        ]
        (pool,) = served.gateway.catalog.pools
        async with asyncio.timeout(180):
            while not pool.waiting:
                await asyncio.sleep(0.005)
        stopping = asyncio.create_task(served.server.shutdown())
        while not served.gateway.draining:
            await asyncio.sleep(0.005)
        may.set()
        await stopping
        for one in asked:
            assert (await one).text.endswith("data: [DONE]\n\n")
        page = served.gateway.metrics.page().decode()
        assert 'queue_seconds_bucket{le="0.0",model="m"} 1.0' in page
        assert 'queue_seconds_count{model="m"} 2.0' in page

    may = asyncio.Event()
    behind([STREAM, may, *GOOD[1:]], routing={"most_in_flight": 1})(test)


def test_a_server_that_hangs_keeps_no_other_from_being_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalog, "_INDEX_SECONDS", 0.3)

    async def run() -> None:
        async with (
            fake_triton(m=GOOD) as good,
            scripted(["hold"]) as hangs,
            serving(good.url, servers=[good.url, hangs.url]) as served,
        ):
            async with asyncio.timeout(180):
                while (await served.client.get("/health/ready")).status_code != 200:
                    await asyncio.sleep(0.05)
            # Longer than the client waits: who waits for the server that hangs fails.
            monkeypatch.setattr(catalog, "_INDEX_SECONDS", 1000)
            assert (await served.client.get("/health/ready")).status_code == 200
            answered = await served.post("/v1/completions", model="m", prompt="x")
            assert answered.status_code == 200

    run_as_served(run())

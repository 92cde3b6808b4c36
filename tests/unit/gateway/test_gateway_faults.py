"""Clients that leave, servers that fail, and what a stream says then."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from support.fake_triton import FakeTriton, said, words
from support.gateways import Served, client, in_front
from support.scripted_http import END, STREAM, answer, event

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


def events(text: str) -> list[Any]:
    """The data of each event; ``[DONE]`` as text."""
    found = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [one if one == "[DONE]" else json.loads(one) for one in found]


async def asked(triton: FakeTriton, requests: int) -> None:
    """Wait until the server has so many requests."""
    async with asyncio.timeout(180):
        while len(triton.bodies) < requests:
            await asyncio.sleep(0.005)


async def left(triton: FakeTriton) -> None:
    """Wait until the server has noticed that the gateway closed the connection."""
    async with asyncio.timeout(180):
        while not triton.left:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("script", [[STREAM, said("Hel"), "hold"], [STREAM, "hold"]])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_the_request_also_in_silence(
    script: list[Any], stream: bool
) -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        asking = asyncio.create_task(served.post("/v1/chat/completions", **CHAT, stream=stream))
        await asked(triton, 1)
        asking.cancel()
        await left(triton)
        assert len(triton.bodies) == 1
        page = (await served.client.get("/metrics")).text
        assert 'error="client_left"' in page

    in_front(test, script=script)


def test_several_answers_end_together() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        asking = asyncio.create_task(served.post("/v1/chat/completions", **CHAT, n=3))
        await asked(triton, 3)
        asking.cancel()
        async with asyncio.timeout(180):
            while triton.left < 3:
                await asyncio.sleep(0.005)

    in_front(test, script=[STREAM, "hold"])


def test_a_silent_stream_gets_heartbeats_before_its_first_token() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        answer = await served.post("/v1/chat/completions", **CHAT, stream=True)
        assert answer.status_code == 200
        assert answer.text.startswith(": keep-alive\n\n")
        assert events(answer.text)[-1] == "[DONE]"

    in_front(test, script=[STREAM, 0.3, *words("a")[1:]], heartbeat_seconds=0.05)


def test_an_error_inside_a_stream_is_an_event() -> None:
    import openai

    async def test(_: FakeTriton, served: Served) -> None:
        answer = await served.post("/v1/chat/completions", **CHAT, stream=True)
        assert answer.status_code == 200
        *_, last, done = events(answer.text)
        assert done == "[DONE]"
        assert last["error"] == {
            "message": "the engine broke",
            "type": "server_error",
            "param": None,
            "code": "upstream_error",
        }
        with pytest.raises(openai.APIError, match="the engine broke"):
            async for _ in await client(served).chat.completions.create(**CHAT, stream=True):
                pass
        assert (
            'error="upstream_error",model="m",status="200"'
            in (await served.client.get("/metrics")).text
        )

    in_front(test, script=[STREAM, said("Hel"), event('{"error": "the engine broke"}'), END])


BREAKS: dict[str, list[Any]] = {
    "reset": [STREAM, said("Hel"), "reset"],
    "closed": [STREAM, said("Hel"), "close"],
    "no reason": [STREAM, said("Hel"), END],
    "aborted": [STREAM, said("Hel", "abort"), END],
    "half an event": [STREAM, said("Hel")[:-20], "close"],
    "not JSON": [STREAM, said("Hel"), event("nonsense"), END],
    "fewer than no tokens": [STREAM, said("Hel"), said("lo", "stop", -5), END],
    "more tokens than a count": [STREAM, said("Hel"), said("lo", "stop", 2**70), END],
}


@pytest.mark.parametrize("script", BREAKS.values(), ids=BREAKS)
@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_never_ends_silently(script: list[Any], stream: bool) -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        answer = await served.post("/v1/chat/completions", **CHAT, stream=stream)
        if answer.status_code == 200:
            assert stream
            *_, last, done = events(answer.text)
            assert (last["error"]["type"], done) == ("server_error", "[DONE]")
        else:
            assert answer.status_code == 502
            assert answer.json()["error"]["code"] == "upstream_error"

    in_front(test, script=script)


REFUSALS = {
    "in a stream": ([STREAM, event('{"error": "x exceeds max length of 5"}'), END], 400),
    "with 400": ([answer(b'{"error": "Exceeds maximum queue size"}', 400)], 503),
    "unknown": ([answer(b'{"error": "Request for unknown model: \'m\' is not found"}', 400)], 404),
    "broken": ([answer(b'{"error": "something else"}', 500)], 500),
    "overloaded": ([answer(b'{"error": "busy"}', 503)], 503),
    "closed": (["close"], 502),
}


@pytest.mark.parametrize(("script", "status"), REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("stream", [True, False])
def test_an_error_before_the_answer_has_its_status(
    script: list[Any], status: int, stream: bool
) -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        answer = await served.post("/v1/chat/completions", **CHAT, stream=stream)
        assert answer.status_code == status, answer.text
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert ("retry-after" in answer.headers) == (status == 503)

    in_front(test, script=script)


def test_no_server() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        answer = await served.post("/v1/chat/completions", **{**CHAT, "model": "other"})
        assert answer.status_code == 502
        assert answer.json()["error"]["code"] == "upstream_unreachable"
        assert (await served.client.get("/health/live")).status_code == 200
        assert (await served.client.get("/health/ready")).status_code == 503

    in_front(test, url="127.0.0.1:1", models={})


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [("LOADING", 503, "model_not_ready"), ("UNAVAILABLE", 503, "model_not_ready")],
)
def test_a_model_that_cannot_be_asked_yet(state: str, status: int, code: str) -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        triton.index = [{"name": "m", "state": state, "reason": "no memory"}]
        await served.gateway.catalog.refresh()
        answer = await served.post("/v1/chat/completions", **CHAT)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert "retry-after" in answer.headers
        triton.index = []
        async with asyncio.timeout(180):  # the answer is asked for again after half a second
            while (await served.post("/v1/chat/completions", **CHAT)).status_code != 200:
                await asyncio.sleep(0.02)

    in_front(test)


def test_a_draining_gateway_refuses_new_requests() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        served.gateway.draining = True
        answer = await served.post("/v1/chat/completions", **CHAT)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "shutting_down"
        assert int(answer.headers["retry-after"]) >= 1
        assert (await served.client.get("/health/ready")).status_code == 503
        assert (await served.client.get("/health/live")).status_code == 200

    in_front(test)

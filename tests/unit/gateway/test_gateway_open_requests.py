"""Requests that are open at a model are counted, refused and ended with an error."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from support.fake_triton import FakeTriton, said
from support.gateways import Served, in_front
from support.scripted_http import STREAM
from trtbuild_gateway.upstream.open_requests import OpenRequests

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


async def _open(requests: OpenRequests, count: int) -> None:
    async with asyncio.timeout(180):
        while len(requests) < count:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("n", [1, 3])
def test_ended_requests_tell_their_clients(n: int) -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        requests = served.gateway.catalog.requests(triton.url, "m")
        asked = [
            asyncio.create_task(served.post("/v1/chat/completions", **CHAT, n=n, stream=stream))
            for stream in (True, False)
        ]
        await _open(requests, 2 * n)
        assert not await requests.none_left(0.01)
        requests.refusal = "is being unloaded"
        requests.end("is being unloaded")
        streamed, whole = await asyncio.gather(*asked)
        assert await requests.none_left(5)
        *_, last, done = [row[6:] for row in streamed.text.splitlines() if row]
        assert (json.loads(last)["error"]["code"], done) == ("model_not_ready", "[DONE]")
        assert (whole.status_code, whole.json()["error"]["code"]) == (503, "model_not_ready")
        refused = await served.post("/v1/chat/completions", **CHAT)
        assert refused.status_code == 503
        assert refused.json()["error"]["message"] == "the model 'm' is being unloaded"
        requests.refusal = ""
        async with asyncio.timeout(180):
            while triton.left < 2 * n:  # the server sees a closed connection a moment later
                await asyncio.sleep(0.005)

    in_front(test, script=[STREAM, said("Hel"), "hold"])


def test_a_client_that_leaves_as_its_request_is_ended_is_just_gone() -> None:
    async def main() -> None:
        requests = OpenRequests("m")

        async def ask() -> None:
            with requests.one():
                await asyncio.sleep(60)

        task = asyncio.create_task(ask())
        await _open(requests, 1)
        requests.end("is being unloaded")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not len(requests)

    asyncio.run(main())

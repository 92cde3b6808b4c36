"""Another model answers when no server of the one that was asked for can."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from support.fake_triton import FakeTriton, fake_triton, said, words
from support.gateways import Served, client, run_as_served, serving, tokenizer
from support.scripted_http import END, STREAM, answer
from trtbuild_gateway.seams import Admission, Call, Free, OpenGate, Outcome

Test = Callable[[FakeTriton, Served], Awaitable[None]]
MESSAGES = [{"role": "user", "content": "Hello"}]
BUSY = [answer(b'{"error": "busy"}', 503)]


def with_fallbacks(*names: str, **scripts: Any) -> Callable[[Test], None]:
    """Run a test with a gateway whose model ``big`` has fallbacks."""

    def run(test: Test) -> None:
        async def main() -> None:
            async with fake_triton(**scripts) as triton:
                own = {"tokenizer": str(tokenizer()), "context_length": 64}
                models = dict.fromkeys(scripts, own) | {"big": {**own, "fallbacks": names}}
                settings = {"heartbeat_seconds": 0.1, "routing": {"first_token_seconds": 0.4}}
                async with serving(triton.url, models=models, **settings) as served:
                    await test(triton, served)

        run_as_served(main())

    return run


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("script", [BUSY, ["close"]])
def test_the_first_fallback_that_can_answers(script: list[Any], stream: bool) -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        body = {"model": "big", "messages": MESSAGES, "stream": stream}
        answered = await served.post("/v1/chat/completions", **body)
        assert answered.status_code == 200
        assert answered.headers["x-trtbuild-fallback"] == "small"
        assert '"model":"small"' in answered.text
        page = (await served.client.get("/metrics")).text
        assert 'fallbacks_total{fallback="busy",model="big"} 1.0' in page
        assert 'fallbacks_total{fallback="small",model="busy"} 1.0' in page
        assert 'model="small",status="200"' in page

    with_fallbacks("gone", "busy", "small", big=script, busy=BUSY, small=words("a", "b"))(test)


def test_a_stream_that_has_only_had_heartbeats_goes_on_with_the_fallback() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        text = ""
        body: dict[str, Any] = {"model": "big", "messages": MESSAGES, "stream": True}
        async for chunk in await client(served).chat.completions.create(**body):
            text += "".join(choice.delta.content or "" for choice in chunk.choices)
        assert text == "ab"

    with_fallbacks("small", big=[STREAM, "hold"], small=words("a", "b"))(test)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_without_an_answer_at_last_the_stream_ends_with_its_error(path: str) -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        body = {"model": "big", "messages": MESSAGES, "stream": True, "max_tokens": 5}
        answered = await served.post(path, **body)
        assert answered.status_code == 200
        assert answered.text.startswith(": keep-alive")
        assert "busy" in answered.text
        assert "error" in answered.text

    with_fallbacks("small", big=[STREAM, "hold"], small=BUSY)(test)


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ([answer(b'{"error": "x exceeds max length of 5"}', 400)], 400),
        ([STREAM, said("a"), "reset"], 502),
        ([STREAM, said("a", "stop"), END], 200),
    ],
)
def test_nobody_else_answers_what_is_wrong_or_has_begun(script: list[Any], status: int) -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        body = {"model": "big", "prompt": "x", "stream": status == 502}
        answered = await served.post("/v1/completions", **body)
        assert "x-trtbuild-fallback" not in answered.headers
        assert answered.status_code == (200 if status == 502 else status)
        assert ("error" in answered.text) == (status != 200)

    with_fallbacks("small", big=script, small=words("b"))(test)


class Counting(OpenGate):
    """Hides a model, and remembers how each admission was settled."""

    def __init__(self) -> None:
        self.settled: list[tuple[str, int]] = []

    def visible(self, caller: object, model: str) -> bool:
        return model != "secret"

    async def admit(self, call: Call) -> Admission:
        model, settled = call.model, self.settled

        class Admitted(Free):
            async def settle(self, outcome: Outcome) -> None:
                settled.append((model, outcome.status))

        return Admitted()


def test_the_gate_judges_each_model_and_each_admission_is_settled() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        gate = served.gateway.gate = Counting()
        answered = await served.post("/v1/completions", model="big", prompt="x")
        assert answered.headers["x-trtbuild-fallback"] == "small"
        assert gate.settled == [("big", 503), ("small", 200)]

    with_fallbacks("secret", "small", big=BUSY, secret=words("s"), small=words("b"))(test)

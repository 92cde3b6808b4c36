"""Chat and completions over a scripted server, through the real OpenAI client."""

from __future__ import annotations

import json

from support.fake_triton import FakeTriton
from support.gateways import Served, client, in_front


def test_a_chat() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        answer = await client(served).chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "Hello"}],
            temperature=0,
            max_completion_tokens=5,
            seed=7,
        )
        (choice,) = answer.choices
        assert (choice.message.content, choice.finish_reason) == ("Hello!", "stop")
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 3
        (body,) = triton.bodies
        assert body["text_input"] == "<|im_start|>user: Hello\n<|im_start|>assistant: "
        sampling = json.loads(body["sampling_parameters"])
        assert sampling == {"max_tokens": 5, "temperature": 0, "seed": 7}

    in_front(test)


def test_a_streamed_chat() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        stream = await client(served).chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "Hello"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        assert len({(c.id, c.created, c.model) for c in chunks}) == 1
        deltas = [c.choices[0].delta for c in chunks if c.choices]
        assert (deltas[0].role, deltas[0].content) == ("assistant", "")
        assert [d.content for d in deltas[1:]] == ["Hel", "lo", "!", None]
        assert [c.choices[0].finish_reason for c in chunks[:-1]] == [None] * 4 + ["stop"]
        usage = chunks[-1].usage
        assert usage is not None and not chunks[-1].choices
        assert usage.total_tokens == usage.prompt_tokens + 3
        # Without a limit of its own an answer may fill the context.
        sampling = json.loads(triton.bodies[0]["sampling_parameters"])
        assert sampling["max_tokens"] == 64 - usage.prompt_tokens

    in_front(test)


def test_completions_of_several_prompts() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        answer = await client(served).completions.create(
            model="m", prompt=["one", "two"], n=2, seed=1, max_tokens=4
        )
        assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
        assert {choice.text for choice in answer.choices} == {"Hello!"}
        assert sorted(body["text_input"] for body in triton.bodies) == ["one"] * 2 + ["two"] * 2
        seeds = [json.loads(body["sampling_parameters"])["seed"] for body in triton.bodies]
        assert sorted(seeds) == [1, 1, 2, 2]

    in_front(test)


def test_models_are_listed() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        listed = await client(served).models.list()
        assert [model.id for model in listed.data] == ["m"]
        one = await client(served).models.retrieve("m")
        assert one.object == "model"
        assert (await served.client.get("/health/ready")).status_code == 200

    in_front(test)

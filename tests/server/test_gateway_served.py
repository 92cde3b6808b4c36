"""The gateway in front of vLLM on a real Triton, through OpenAI's client."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from support import triton
from support.gateways import Served, client, run_as_served, serving
from support.smollm2 import CONTEXT, PROMPTS, generate
from support.waiting import least

Test = Callable[[Served], Awaitable[None]]
PROMPT = "The capital of France is"
TOKENS = 6  # a text in several pieces; the server is asked for each of them three times
CHAT: dict[str, Any] = {
    "model": "smollm2",
    "messages": [{"role": "user", "content": "Say hello."}],
    "temperature": 0,
}


@pytest.fixture
def in_front(vllm_server: triton.Triton, smollm2: Path) -> Callable[[Test], None]:
    """Run a test with a gateway in front of the server."""
    model = {"tokenizer": str(smollm2), "context_length": CONTEXT}

    def run(test: Test) -> None:
        async def main() -> None:
            async with serving(vllm_server.http, models={"smollm2": model}) as served:
                await test(served)

        run_as_served(main())

    return run


def test_the_greedy_text_is_that_of_the_server(
    in_front: Callable[[Test], None], vllm_server: triton.Triton
) -> None:
    prompts = [str(row["prompt"]) for row in PROMPTS if "prompt" in row]
    sampling = {"max_tokens": TOKENS, "temperature": 0}
    direct = [
        generate(vllm_server, text_input=p, sampling=sampling, exclude_input_in_output=True).json()[
            "text_output"
        ]
        for p in prompts
    ]

    async def test(served: Served) -> None:
        openai = client(served)
        whole = await openai.completions.create(
            model="smollm2", prompt=prompts, max_tokens=TOKENS, temperature=0
        )
        assert [choice.text for choice in whole.choices] == direct
        stream = await openai.completions.create(
            model="smollm2", prompt=prompts, max_tokens=TOKENS, temperature=0, stream=True
        )
        texts = [""] * len(prompts)
        async for chunk in stream:
            for choice in chunk.choices:
                texts[choice.index] += choice.text
        assert texts == direct

    in_front(test)


def test_two_servers_give_the_text_of_one(
    vllm_server: triton.Triton, smollm2: Path, in_front: Callable[[Test], None]
) -> None:
    sampling: dict[str, Any] = {"model": "smollm2", "prompt": PROMPT, "max_tokens": 8}
    texts: list[str] = []

    async def alone(served: Served) -> None:
        answer = await served.post("/v1/completions", **sampling, temperature=0)
        texts.append(answer.json()["choices"][0]["text"])

    async def main() -> None:
        # The same server by two names.
        host, port = vllm_server.http.rsplit(":", 1)
        servers = [f"{host}:{port}", f"localhost:{port}"]
        models = {"smollm2": {"tokenizer": str(smollm2), "context_length": CONTEXT}}
        async with serving(vllm_server.http, servers=servers, models=models) as served:
            await alone(served)
            await alone(served)
            (pool,) = served.gateway.catalog.pools
            assert [one.sent for one in pool.servers] == [1, 1]

    in_front(alone)
    run_as_served(main())
    assert len(set(texts)) == 1


def test_a_chat_is_the_same_streamed_or_not_and_as_a_response(
    in_front: Callable[[Test], None],
) -> None:
    async def test(served: Served) -> None:
        openai = client(served)
        whole = await openai.chat.completions.create(**CHAT, max_completion_tokens=9)
        text = ""
        usage = None
        stream = await openai.chat.completions.create(
            **CHAT, max_tokens=9, stream=True, stream_options={"include_usage": True}
        )
        async for chunk in stream:
            text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
            usage = chunk.usage or usage
        assert text == whole.choices[0].message.content
        assert whole.choices[0].finish_reason == "length"
        assert usage == whole.usage
        assert usage is not None
        assert usage.completion_tokens == 9
        response = await openai.responses.create(
            model="smollm2", input=CHAT["messages"], temperature=0, max_output_tokens=9
        )
        assert response.output_text == text
        assert response.status == "incomplete"
        assert response.usage is not None
        assert response.usage.total_tokens == usage.total_tokens

    in_front(test)


def test_echo_has_the_log_probability_of_every_token(
    in_front: Callable[[Test], None], vllm_server: triton.Triton, smollm2: Path
) -> None:
    tokenizer = Tokenizer.from_file(str(smollm2 / "tokenizer.json"))
    text = PROMPT + " été 🙂"
    ids = tokenizer.encode(text).ids
    sampling = {"max_tokens": 1, "temperature": 0, "prompt_logprobs": 1, "logprobs": 1}
    direct = generate(
        vllm_server,
        text_input=text,
        sampling=sampling,
        return_logprobs=True,
        exclude_input_in_output=True,
    ).json()
    _, *positions = json.loads(direct["logprobs"][1])
    wanted = [position[str(id)]["logprob"] for id, position in zip(ids[1:], positions, strict=True)]

    async def test(served: Served) -> None:
        for prompt in (text, ids):
            answer = await client(served).completions.create(
                model="smollm2", prompt=prompt, max_tokens=1, temperature=0, logprobs=1, echo=True
            )
            found = answer.choices[0].logprobs
            assert found is not None
            assert found.tokens is not None
            assert found.token_logprobs is not None
            assert found.text_offset is not None
            assert len(found.tokens) == len(ids) + 1
            assert found.token_logprobs[0] is None
            assert found.token_logprobs[1:-1] == pytest.approx(wanted, abs=1e-4)
            assert answer.choices[0].text.startswith(text)
            assert found.text_offset[:3] == [0, 3, 11]
            assert found.text_offset[-1] == len(text)
        nothing = await client(served).completions.create(
            model="smollm2", prompt=text, max_tokens=0, logprobs=1, echo=True
        )
        assert nothing.choices[0].text == text
        assert nothing.usage is not None
        assert nothing.usage.completion_tokens == 0

    in_front(test)


def test_log_probabilities_of_a_chat(in_front: Callable[[Test], None]) -> None:
    async def test(served: Served) -> None:
        answer = await client(served).chat.completions.create(
            **CHAT, max_tokens=4, logprobs=True, top_logprobs=2
        )
        (choice,) = answer.choices
        assert choice.logprobs is not None
        rows = choice.logprobs.content
        assert rows is not None
        assert b"".join(bytes(row.bytes or ()) for row in rows).decode() == choice.message.content
        for row in rows:
            assert len(row.top_logprobs) == 2
            assert row.top_logprobs[0].logprob == row.logprob  # greedy takes the best

    in_front(test)


def test_the_engine_keeps_the_form_that_is_asked_for(in_front: Callable[[Test], None]) -> None:
    schema = {
        "type": "object",
        "properties": {"yes": {"type": "boolean"}},
        "required": ["yes"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}

    async def test(served: Served) -> None:
        answer = await client(served).chat.completions.create(
            **CHAT, max_tokens=40, response_format=form
        )
        content = json.loads(answer.choices[0].message.content or "")
        assert isinstance(content["yes"], bool)
        wrong = {**schema, "properties": {"yes": {"$ref": "#/nowhere"}}}
        form["json_schema"] = {"name": "answer", "schema": wrong}
        refused = await served.post("/v1/chat/completions", **CHAT, response_format=form)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_schema")

    in_front(test)


def test_a_client_that_leaves_ends_the_generation(
    in_front: Callable[[Test], None], vllm_server: triton.Triton
) -> None:
    async def test(served: Served) -> None:
        stream = await client(served).chat.completions.create(
            **CHAT, max_tokens=400, stream=True, extra_body={"ignore_eos": True}
        )
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        await stream.close()

    def made() -> float:
        before = vllm_server.settled()["generation_tokens_total"]
        in_front(test)
        return vllm_server.settled()["generation_tokens_total"] - before

    assert least(made, 41) <= 40

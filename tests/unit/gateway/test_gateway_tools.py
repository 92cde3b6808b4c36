"""Reasoning and tool calls through the gateway, over a scripted server, by the OpenAI client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.fake_triton import FakeTriton, fake_triton, said, words
from support.gateways import Served, client, serving, write_tokenizer
from support.scripted_http import END, STREAM
from trtbuild.errors import RecipeError

if TYPE_CHECKING:
    import openai

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if tools %}{{ tools | tojson }} <tool_call>\n"
    '{"name": <name>, "arguments": <arguments>}\n</tool_call>{% endif %}'
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
ANSWER = (
    *("Two", " look", "ups.\n</th", "ink>\n\nOn it.\n<tool", "_call>\n"),
    *('{"name": "weather", "argum', 'ents": {"town": "Köln', '"}}\n</tool_call>\n<tool_call>\n'),
    *('{"name": "clock", "arguments": {}}', "\n</tool_call>"),
)
CALLS = [("weather", {"town": "Köln"}), ("clock", {})]
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": {"town": {"type": "string"}}},
        },
    }
    for name in ("weather", "clock")
]
ASKED: list[Any] = [{"role": "user", "content": "Hello"}]
Test = Callable[[FakeTriton, Served, "openai.AsyncOpenAI"], Awaitable[None]]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"), TEMPLATE)


def gateway(tokenizer: Path, test: Test, *texts: str, reason: str = "stop", **own: Any) -> None:
    async def run() -> None:
        async with fake_triton(m=words(*(texts or ANSWER), reason=reason)) as triton:
            models = {"m": {"tokenizer": str(tokenizer), "context_length": 1000, **own}}
            async with serving(triton.url, models=models) as served:
                await test(triton, served, client(served))

    asyncio.run(run())


def called(calls: Any) -> list[tuple[str, Any]]:
    return [(call.function.name, json.loads(call.function.arguments)) for call in calls]


def called_in(calls: Any) -> list[tuple[str, Any]]:
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]


def test_reasoning_and_calls_of_a_whole_answer(tokenizer: Path) -> None:
    async def test(triton: FakeTriton, served: Served, client: openai.AsyncOpenAI) -> None:
        answer = await client.chat.completions.create(model="m", messages=ASKED, tools=TOOLS)
        (choice,) = answer.choices
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content == "On it."
        assert choice.message.reasoning == choice.message.reasoning_content == "Two lookups."
        assert called(choice.message.tool_calls) == CALLS
        assert len({call.id for call in choice.message.tool_calls or ()}) == 2
        assert '"name": "weather"' in triton.bodies[0]["text_input"]

    gateway(tokenizer, test)


def test_reasoning_and_calls_of_a_stream(tokenizer: Path) -> None:
    async def test(triton: FakeTriton, served: Served, client: openai.AsyncOpenAI) -> None:
        reasoning, content = "", ""
        async with client.chat.completions.stream(model="m", messages=ASKED, tools=TOOLS) as stream:
            async for event in stream:
                if event.type == "chunk" and event.chunk.choices:
                    delta = event.chunk.choices[0].delta
                    content += delta.content or ""
                    reasoning += getattr(delta, "reasoning_content", None) or ""
            answer = await stream.get_final_completion()
        (choice,) = answer.choices
        assert (reasoning, content, choice.finish_reason) == (
            "Two lookups.",
            "On it.",
            "tool_calls",
        )
        assert called(choice.message.tool_calls) == CALLS

    gateway(tokenizer, test)


def test_log_probabilities_go_with_the_first_change(tokenizer: Path) -> None:
    texts = ["ok", "</think>", "Yes", " <", "b>.", "<tool_call>", '{"name": "clock"}']
    texts.append("</tool_call>")
    events = []
    for at, text in enumerate(texts):
        position = {str(at): {"logprob": -1.0, "decoded_token": text, "rank": 1}}
        reason = "stop" if text == texts[-1] else "None"
        events.append(said(text, reason, logprobs=json.dumps([position])))

    async def run() -> None:
        async with fake_triton(m=[STREAM, *events, END]) as triton:
            models = {"m": {"tokenizer": str(tokenizer)}}
            async with serving(triton.url, models=models) as served:
                asked = {"model": "m", "messages": ASKED, "tools": TOOLS, "logprobs": True}
                whole = await served.post("/v1/chat/completions", **asked)
                streamed = await served.post("/v1/chat/completions", **asked, stream=True)
        (choice,) = whole.json()["choices"]
        rows = [json.loads(line[6:]) for line in streamed.text.splitlines() if line[6:7] == "{"]
        chosen = [row["choices"][0] for row in rows]
        parts = [c["logprobs"]["content"] for c in chosen if c.get("logprobs")]
        found = [entry["token"] for part in parts for entry in part]
        assert found == [entry["token"] for entry in choice["logprobs"]["content"]] == texts
        content = "".join(c["delta"].get("content", "") for c in chosen)
        assert content == choice["message"]["content"]
        assert choice["message"]["content"] == "Yes <b>."
        assert called_in(choice["message"]["tool_calls"]) == [("clock", {})]

    asyncio.run(run())


def test_no_tools_no_calls(tokenizer: Path) -> None:
    async def test(triton: FakeTriton, served: Served, client: openai.AsyncOpenAI) -> None:
        for more in ({}, {"tools": TOOLS, "tool_choice": "none"}):
            answer = await client.chat.completions.create(model="m", messages=ASKED, **more)
            (choice,) = answer.choices
            assert choice.message.tool_calls is None
            assert (choice.message.content or "").startswith("On it.\n<tool_call>")
            assert choice.message.reasoning == "Two lookups."
            assert choice.finish_reason == "stop"
            assert "weather" not in triton.bodies[-1]["text_input"]

    gateway(tokenizer, test)


def test_one_call_if_parallel_calls_are_off(tokenizer: Path) -> None:
    async def test(triton: FakeTriton, served: Served, client: openai.AsyncOpenAI) -> None:
        answer = await client.chat.completions.create(
            model="m", messages=ASKED, tools=TOOLS, parallel_tool_calls=False
        )
        assert called(answer.choices[0].message.tool_calls) == CALLS[:1]

    gateway(tokenizer, test)


@pytest.mark.parametrize("stream", [False, True])
def test_a_cut_call_is_no_call(tokenizer: Path, stream: bool) -> None:
    async def test(triton: FakeTriton, served: Served, client: openai.AsyncOpenAI) -> None:
        answer = await served.post(
            "/v1/chat/completions", model="m", messages=ASKED, tools=TOOLS, stream=stream
        )
        assert "tool_calls" not in answer.text
        assert '"finish_reason":"length"' in answer.text

    cut = '</think>\n<tool_call>\n{"name": "weather", "arguments": {"town": "rm -rf /'
    gateway(tokenizer, test, cut, reason="length")


@pytest.mark.parametrize(
    ("choice", "text", "calls"),
    [
        ("required", '[{"name": "weather", "arguments": {"town": "Ulm"}}]', [("weather", "Ulm")]),
        (
            {"type": "function", "function": {"name": "weather"}},
            '{"town": "Ulm"}',
            [("weather", "Ulm")],
        ),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "weather"}}],
                },
            },
            '[{"name": "weather", "arguments": {"town": "Ulm"}}]',
            [("weather", "Ulm")],
        ),
        ("required", "[oops", []),
    ],
)  # fmt: skip
def test_a_call_that_must_be_made_is_guided(
    tokenizer: Path, choice: Any, text: str, calls: list[tuple[str, str]]
) -> None:
    async def test(triton: FakeTriton, served: Served, client: openai.AsyncOpenAI) -> None:
        answer = await client.chat.completions.create(
            model="m", messages=ASKED, tools=TOOLS, tool_choice=choice
        )
        found = called(answer.choices[0].message.tool_calls or ())
        assert found == [(name, {"town": town}) for name, town in calls]
        assert answer.choices[0].message.content == (None if calls else text)
        sampling = json.loads(triton.bodies[0]["sampling_parameters"])
        schema = json.loads(sampling["structured_outputs"])["json"]
        if isinstance(choice, dict) and choice["type"] == "function":
            assert schema == TOOLS[0]["function"]["parameters"]
        else:
            kinds = schema["items"].get("anyOf", [schema["items"]])
            names = [kind["properties"]["name"]["const"] for kind in kinds]
            assert names == (["weather", "clock"] if choice == "required" else ["weather"])

    gateway(tokenizer, test, text)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": "any"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "tool"}}, "tool_choice.type"),
        (
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice",
        ),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function.name"),
        ({"tools": [{"function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [TOOLS[0], TOOLS[0]]}, "tools[1].function.name"),
        (
            {"tools": [{"function": {"name": "a", "parameters": [1]}}]},
            "tools[0].function.parameters",
        ),
        (
            {"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}},
            "tool_choice.allowed_tools.tools",
        ),
    ],
)
def test_bad_tools_are_refused(tokenizer: Path, body: dict[str, Any], param: str) -> None:
    async def test(triton: FakeTriton, served: Served, client: openai.AsyncOpenAI) -> None:
        answer = await served.post("/v1/chat/completions", model="m", messages=ASKED, **body)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == param
        assert not triton.bodies

    gateway(tokenizer, test)


def test_a_model_of_an_unknown_family_refuses_tools(tokenizer: Path) -> None:
    async def test(triton: FakeTriton, served: Served, client: openai.AsyncOpenAI) -> None:
        answer = await served.post("/v1/chat/completions", model="m", messages=ASKED, tools=TOOLS)
        assert answer.status_code == 400
        assert "set `parser` of the model in gateway.yaml" in answer.json()["error"]["message"]
        plain = await client.chat.completions.create(model="m", messages=ASKED)
        assert plain.choices[0].message.content == "".join(ANSWER)

    gateway(tokenizer, test, parser="none")


def test_a_parser_by_vllms_name(tmp_path: Path) -> None:
    async def test(triton: FakeTriton, served: Served, client: openai.AsyncOpenAI) -> None:
        answer = await client.chat.completions.create(model="m", messages=ASKED, tools=TOOLS)
        assert called(answer.choices[0].message.tool_calls) == [("clock", {})]
        sampling = json.loads(triton.bodies[0]["sampling_parameters"])
        assert "skip_special_tokens" not in sampling  # its tokenizer has no such special tokens

    gateway(
        write_tokenizer(tmp_path), test, '{"name": "clock", "parameters": {}}', parser="llama3_json"
    )


def test_an_unknown_parser_is_named_at_the_start(tokenizer: Path) -> None:
    async def test(triton: FakeTriton, served: Served, client: openai.AsyncOpenAI) -> None:
        """Not reached."""

    with pytest.raises(RecipeError, match="there is no parser 'hermess'; there is hermes"):
        gateway(tokenizer, test, parser="hermess")


def test_the_parser_belongs_to_the_public_name(tokenizer: Path) -> None:
    async def run() -> None:
        own = {"upstream": "m", "tokenizer": str(tokenizer), "parser": "think", "aliases": ["b"]}
        async with (
            fake_triton(m=words(*ANSWER)) as triton,
            serving(triton.url, models={"a": own}) as served,
        ):
            for name in ("a", "b"):
                answer = await served.post("/v1/chat/completions", model=name, messages=ASKED)
                message = answer.json()["choices"][0]["message"]
                assert message["reasoning"] == "Two lookups."
                refused = await served.post(
                    "/v1/chat/completions", model=name, messages=ASKED, tools=TOOLS
                )
                assert refused.json()["error"]["param"] == "tools"

    asyncio.run(run())

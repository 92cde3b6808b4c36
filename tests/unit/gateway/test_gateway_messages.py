"""Anthropic's messages: requests become chats, answers and errors have Anthropic's form."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from support.fake_triton import FakeTriton, said, words
from support.gateways import Served, in_front, tokenizer
from support.scripted_http import END, STREAM, event

ASK: dict[str, Any] = {
    "model": "m",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "Hello"}],
}
TOOL = {"name": "add", "description": "Adds.", "input_schema": {"type": "object"}}
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The name and the data of each event."""
    made = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        made.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return made


def test_a_message() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        answer = await served.post(
            "/v1/messages",
            **ASK,
            system=[{"type": "text", "text": "Be kind."}],
            stop_sequences=["x"],
        )
        body = answer.json()
        assert body["content"] == [{"type": "text", "text": "Hello!", "citations": None}]
        assert (body["stop_reason"], body["usage"]["output_tokens"]) == ("end_turn", 3)
        (sent,) = triton.bodies
        assert sent["text_input"].startswith(
            "<|im_start|>system: Be kind.\n<|im_start|>user: Hello\n"
        )
        assert json.loads(sent["sampling_parameters"]) == {"max_tokens": 9, "stop": ["x"]}
        count = await served.post("/v1/messages/count_tokens", model="m", messages=ASK["messages"])
        assert count.json()["input_tokens"] > 3

    in_front(test)


def test_a_streamed_message() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        answer = await served.post("/v1/messages", **ASK, stream=True)
        found = events(answer.text)
        assert [name for name, _ in found] == [
            "message_start", "content_block_start", *["content_block_delta"] * 3,
            "content_block_stop", "message_delta", "message_stop",
        ]  # fmt: skip
        assert all(name == data["type"] for name, data in found)
        text = "".join(data["delta"]["text"] for name, data in found if name.endswith("k_delta"))
        assert text == "Hello!"
        assert found[-2][1]["delta"]["stop_reason"] == "end_turn"
        assert found[-2][1]["usage"]["output_tokens"] == 3

    in_front(test)


@pytest.mark.parametrize("stream", [True, False])
def test_a_tool_call(stream: bool) -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        answer = await served.post("/v1/messages", **ASK, tools=[TOOL], stream=stream)
        if not stream:
            body = answer.json()
            (block,) = body["content"]
            assert (block["type"], block["name"], block["input"]) == ("tool_use", "add", {"a": 1})
            assert body["stop_reason"] == "tool_use"
            return
        found = events(answer.text)
        (start,) = [data for name, data in found if name == "content_block_start"]
        assert start["content_block"]["name"] == "add"
        parts = [data["delta"] for name, data in found if name == "content_block_delta"]
        assert json.loads("".join(part["partial_json"] for part in parts)) == {"a": 1}
        assert found[-2][1]["delta"]["stop_reason"] == "tool_use"

    in_front(test, script=words(CALL), **with_model(parser="hermes"))


@pytest.mark.parametrize("stream", [True, False])
def test_thinking_comes_before_the_text(stream: bool) -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        answer = await served.post("/v1/messages", **ASK, stream=stream)
        if not stream:
            assert answer.json()["content"] == [
                {"type": "thinking", "thinking": "Let me see.", "signature": ""},
                {"type": "text", "text": "It is 2.", "citations": None},
            ]
            return
        found = events(answer.text)
        starts = [data for name, data in found if name == "content_block_start"]
        assert [data["content_block"]["type"] for data in starts] == ["thinking", "text"]
        parts = [data for name, data in found if name == "content_block_delta"]
        deltas = [(data["index"], data["delta"]) for data in parts]
        assert {(at, delta["type"]) for at, delta in deltas} == {
            (0, "thinking_delta"),
            (1, "text_delta"),
        }
        assert "".join(delta.get("thinking", "") for _, delta in deltas) == "Let me see."

    in_front(
        test,
        script=words("<think>Let", " me see.", "</think>", "It is", " 2."),
        **with_model(parser="think"),
    )


def with_model(**settings: Any) -> dict[str, Any]:
    """The gateway's settings with more settings of the model."""
    return {"models": {"m": {"tokenizer": str(tokenizer()), "context_length": 256, **settings}}}


def test_thinking_is_turned_off_by_the_variables_that_templates_know(tmp_path: Any) -> None:
    template = tmp_path / "thinking.jinja"
    template.write_text("{{ '' if enable_thinking is false or thinking is false else '<think>' }}")

    async def test(triton: FakeTriton, served: Served) -> None:
        for kind in ("disabled", "adaptive"):
            await served.post("/v1/messages", **ASK, thinking={"type": kind})
        assert [body["text_input"] for body in triton.bodies] == ["", "<think>"]

    in_front(test, **with_model(chat_template=str(template)))


def test_a_budget_of_thinking_is_vllms_and_refused_for_other_engines() -> None:
    thinking = {"type": "enabled", "budget_tokens": 4}
    unset = "thinking_token_budget is set but reasoning_config is not configured. Please set"
    broken = [STREAM, event(json.dumps({"error": unset})), END]

    async def test(triton: FakeTriton, served: Served) -> None:
        await served.post("/v1/messages", **ASK, thinking=thinking)
        assert json.loads(triton.bodies[0]["sampling_parameters"])["thinking_token_budget"] == 4
        triton.scripts["m"] = broken
        refused = await served.post("/v1/messages", **ASK, thinking=thinking)
        assert (refused.status_code, "reasoning_config" in refused.text) == (400, True)

    in_front(test)

    async def other(triton: FakeTriton, served: Served) -> None:
        refused = await served.post("/v1/messages", **ASK, thinking=thinking)
        message = refused.json()["error"]["message"]
        assert (refused.status_code, "cannot limit thinking" in message) == (400, True), message

    inputs = (("text_input", "BYTES"), ("max_tokens", "INT32"), ("stream", "BOOL"))
    in_front(other, spec=(inputs, (("text_output", "BYTES"),)))


def test_what_was_said_before_comes_back_in_the_prompt(tmp_path: Any) -> None:
    template = tmp_path / "all.jinja"
    template.write_text(
        "{% for m in messages %}{{ m.role }}|{{ m.content if m.content is string else '' }}|"
        "{% for c in m.tool_calls or [] %}{{ c.function.name }}={{ c.function.arguments.a }}"
        "{% endfor %};{% endfor %}"
    )
    png = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(9)).decode()
    source = {"type": "base64", "media_type": "image/png", "data": png}
    call = {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 5}}
    result = {
        "type": "tool_result",
        "tool_use_id": "t1",
        "content": [{"type": "text", "text": "6"}],
    }
    messages = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [{"type": "text", "text": "well"}, call]},
        {"role": "user", "content": [result, {"type": "image", "source": source}]},
    ]

    async def test(triton: FakeTriton, served: Served) -> None:
        answer = await served.post("/v1/messages", model="m", max_tokens=3, messages=messages)
        assert answer.status_code == 200, answer.text
        (sent,) = triton.bodies
        turns = sent["text_input"].split(";")
        assert turns[:3] == ["user|go|", "assistant|well|add=5", "tool|6|"]
        assert sent["image"] == png

    in_front(test, **with_model(chat_template=str(template)))


INVALID = "invalid_request_error"
REFUSED: list[tuple[dict[str, Any], int, str, str]] = [
    ({"max_tokens": None}, 400, INVALID, "max_tokens"),
    ({"messages": "x"}, 400, INVALID, "list"),
    ({"messages": [{"role": "system", "content": "x"}]}, 400, INVALID, "role"),
    (
        {"messages": [{"role": "user", "content": [{"type": "x"}]}]},
        400,
        "invalid_request_error",
        "x",
    ),
    ({"model": "other"}, 404, "not_found_error", "there is: m"),
    ({"thinking": {"type": "enabled"}}, 400, INVALID, "budget_tokens"),
    ({"thinking": {"type": "enabled", "budget_tokens": 99}}, 400, INVALID, "below 'max_tokens'"),
    ({"thinking": {"type": "between_tools"}}, 400, INVALID, "disabled, adaptive or enabled"),
    ({"thinking": {"type": "adaptive", "display": "omitted"}}, 400, INVALID, "always shown"),
    ({"tool_choice": {"type": "x"}}, 400, INVALID, "tool_choice"),
    ({"system": [{"type": "text", "text": 5}]}, 400, INVALID, "'system' has no text"),
    (
        {"messages": [{"role": "assistant", "content": [{"type": "text"}]}]},
        400,
        INVALID,
        "'messages[0].content' has no text",
    ),
    ({"output_config": {"effort": "lots"}}, 400, INVALID, "minimal, low, medium"),
    ({"output_config": {"format": {"type": "xml"}}}, 400, INVALID, "json_schema"),
    ({"tools": [{"type": "bash"}]}, 400, INVALID, "input_schema"),
    ({"max_token": 1}, 400, INVALID, "max_tokens"),
]


def test_errors_have_anthropics_form() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        wrong = []
        for change, status, kind, says in REFUSED:
            answer = await served.post("/v1/messages", **{**ASK, **change})
            body = answer.json()
            error = body.get("error", {})
            found = (answer.status_code, body["type"], error.get("type"))
            if found != (status, "error", kind) or says not in error["message"]:
                wrong.append((change, answer.text))
        assert wrong == []

    in_front(test)


def test_the_form_of_an_answer() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        form = {"type": "json_schema", "schema": {"type": "object"}}
        answer = await served.post("/v1/messages", **ASK, output_config={"format": form})
        assert answer.status_code == 200
        sampling = json.loads(triton.bodies[0]["sampling_parameters"])
        assert json.loads(sampling["structured_outputs"]) == {"json": {"type": "object"}}

    in_front(test)


def test_an_error_inside_a_stream_is_an_event_of_its_own() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        answer = await served.post("/v1/messages", **ASK, stream=True)
        name, data = events(answer.text)[-1]
        assert (name, data["error"]["type"]) == ("error", "api_error")

    in_front(test, script=[STREAM, said("a"), "reset"])


def test_the_end_of_a_cut_answer() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        answer = await served.post("/v1/messages", **ASK)
        assert answer.json()["stop_reason"] == "max_tokens"

    in_front(test, script=[STREAM, said("a", "length"), END])

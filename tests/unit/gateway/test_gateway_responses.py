"""OpenAI's responses: items in and out, and the events of a stream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.fake_triton import FakeTriton, said, words
from support.gateways import Served, client, in_front, tokenizer
from support.scripted_http import END, STREAM

TOOL = {"type": "function", "name": "add", "parameters": {"type": "object"}}
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
THOUGHT = ("<think>Let", " me see.</think>", "It is", " 2.", CALL)
ASK: dict[str, Any] = {"model": "m", "input": "1 + 1?"}


def with_model(**settings: Any) -> dict[str, Any]:
    """The gateway's settings with more settings of the model."""
    return {"models": {"m": {"tokenizer": str(tokenizer()), "context_length": 512, **settings}}}


def events(text: str) -> list[dict[str, Any]]:
    """The data of each event, whose name is its type."""
    *blocks, last = text.strip().split("\n\n")
    assert last == "data: [DONE]"
    made = []
    for block in blocks:
        name, data = block.split("\n")
        found = json.loads(data.removeprefix("data: "))
        assert name == f"event: {found['type']}"
        made.append(found)
    assert [event["sequence_number"] for event in made] == list(range(len(made)))
    return made


def without_ids(value: Any) -> Any:
    """An answer as it is each time."""
    if isinstance(value, list):
        return [without_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    changing = ("id", "call_id", "item_id", "created_at", "completed_at")
    return {key: without_ids(item) for key, item in value.items() if key not in changing}


@pytest.mark.parametrize(
    ("script", "kinds"),
    [
        (("Hel", "lo", "!"), ["message"]),
        (THOUGHT, ["reasoning", "message", "function_call"]),
        ((CALL, CALL), ["function_call", "function_call"]),
        (("",), ["message"]),
    ],
)
def test_a_stream_amounts_to_the_whole_answer(script: tuple[str, ...], kinds: list[str]) -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        whole = (await served.post("/v1/responses", **ASK, tools=[TOOL])).json()
        assert [item["type"] for item in whole["output"]] == kinds
        assert (whole["status"], whole["error"]) == ("completed", None)
        found = events((await served.post("/v1/responses", **ASK, tools=[TOOL], stream=True)).text)
        assert without_ids(found[-1]["response"]) == without_ids(whole)
        ended = [event["item"] for event in found if event["type"] == "response.output_item.done"]
        assert ended == found[-1]["response"]["output"]
        assert [event["type"] for event in found[:2]] == [
            "response.created", "response.in_progress",
        ]  # fmt: skip
        for at, item in enumerate(ended):
            own = [event for event in found if event.get("output_index") == at]
            said = "".join(event["delta"] for event in own if event["type"].endswith("delta"))
            text = item["arguments"] if "arguments" in item else item["content"][0]["text"]
            assert said == text
            assert {event["item_id"] for event in own if "item_id" in event} == {item["id"]}

    in_front(test, script=words(*script), **with_model(parser="hermes"))


def test_reasoning_is_an_item_and_its_tokens_are_counted() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        body = (await served.post("/v1/responses", **ASK)).json()
        thought, message = body["output"]
        assert thought["content"] == [{"type": "reasoning_text", "text": "Let me see."}]
        assert message["content"][0]["text"] == "It is 2."
        usage = body["usage"]
        assert usage["output_tokens_details"]["reasoning_tokens"] > 3
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]

    in_front(test, script=words(*THOUGHT[:4]), **with_model(parser="think"))


def test_an_answer_that_was_cut() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        answer = await served.post("/v1/responses", **ASK, stream=True, max_output_tokens=1)
        last = events(answer.text)[-1]
        assert last["type"] == "response.incomplete"
        assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
        assert last["response"]["output"][0]["status"] == "incomplete"

    in_front(test, script=[STREAM, said("a", "length"), END])


def test_the_items_of_a_conversation_come_back_in_the_prompt(tmp_path: Any) -> None:
    template = tmp_path / "all.jinja"
    template.write_text(
        "{% for m in messages %}{{ m.role }}|{{ m.reasoning or '' }}|{{ m.content or '' }}|"
        "{% for c in m.tool_calls or [] %}{{ c.function.name }}={{ c.function.arguments.a }},"
        "{% endfor %};{% endfor %}"
    )
    text = {"type": "input_text", "text": "go"}
    call = {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a": 5}'}
    thought = {"type": "reasoning_text", "text": "mm"}
    items = [
        {"role": "developer", "content": "Count."},
        {"type": "message", "role": "user", "content": [text]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [thought], "status": None},
        {"role": "assistant", "content": [{"type": "output_text", "text": "well"}]},
        call,
        {**call, "call_id": "c2"},
        {"type": "function_call_output", "call_id": "c1", "output": "6"},
        {"type": "function_call_output", "call_id": "c2", "output": [{**text, "text": "7"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "short"}]},
        call,
    ]

    async def test(triton: FakeTriton, served: Served) -> None:
        answer = await served.post("/v1/responses", model="m", instructions="Be kind.", input=items)
        assert answer.status_code == 200, answer.text
        assert triton.bodies[0]["text_input"].split(";")[:-1] == [
            "system||Be kind.\nCount.|", "user||go|", "assistant|mm|well|add=5,add=5,",
            "tool||6|", "tool||7|", "assistant|short||add=5,",
        ]  # fmt: skip

    in_front(test, **with_model(chat_template=str(template)))


def test_a_message_of_the_developer_is_the_systems_where_the_template_knows_no_other() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        await served.post("/v1/responses", model="m", input=[{"role": "developer", "content": "x"}])
        assert triton.bodies[0]["text_input"].startswith("<|im_start|>system: x")

    in_front(test)


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"previous_response_id": "resp_1"}, "previous_response_id", "send the earlier items"),
    ({"store": True}, "store", "no answer is stored"),
    ({"background": True}, "background", "belongs to its request"),
    ({"conversation": "c"}, "conversation", "nothing is stored"),
    ({"truncation": "auto"}, "truncation", "shortens no input"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "unknown field"),
    ({"stream_options": {"include_obfuscation": True}}, "stream_options", "needs 'stream'"),
    ({"reasoning": {"effort": "lots"}}, "reasoning.effort", "lots"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type", "runs no tools itself"),
    ({"tools": [{**TOOL, "name": "a b"}]}, "tools[0].function.name", "a b"),
    ({"tools": [TOOL], "tool_choice": {"type": "file_search"}}, "tool_choice.type", "file_search"),
    (
        {"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "tools": 1.5}},
        "tool_choice.allowed_tools.tools",
        "lists no tool",
    ),
    ({"reasoning": {"summary": "detailed"}}, "reasoning.summary", "auto"),
    ({"reasoning": {"efort": "low"}}, "reasoning", "efort"),
    ({"text": {"verbosity": "low"}}, "text.verbosity", "medium"),
    ({"text": {"format": {"type": "xml"}}}, "text.format.type", "json_schema"),
    ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema", "schema"),
    ({"include": ["everything"]}, "include[0]", "everything"),
    ({"top_logprobs": 2}, "top_logprobs", "include"),
    ({"input": []}, "input", "empty"),
    ({"input": 3}, "input", "int"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type", "nothing is stored"),
    ({"input": [{"type": "computer_call"}]}, "input[0].type", "no such tool"),
    ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role", "user"),
    ({"input": [{"role": "user"}]}, "input[0].content", "text"),
    ({"input": [{"role": "user", "content": [{"type": "x"}]}]}, "input[0].content[0].type", "'x'"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
        "input[0].content[0].image_url",
        "stores no files",
    ),
    (
        {"input": [{"type": "reasoning", "summary": [], "encrypted_content": "x"}]},
        "input[0].encrypted_content",
        "no key",
    ),
    ({"input": "x" * 600}, "input", "context"),
    ({"max_output_token": 5}, "max_output_token", "'max_output_tokens'"),
]


def test_what_cannot_be_honoured_is_refused_by_name() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        wrong = []
        for change, param, says in REFUSED:
            answer = await served.post("/v1/responses", **{**ASK, **change})
            error = answer.json().get("error", {})
            found = (answer.status_code, error.get("param"))
            if found != (400, param) or says not in error["message"]:
                wrong.append((change, answer.text))
        assert wrong == []
        assert triton.bodies == []

    in_front(test, **with_model())


def test_the_form_of_an_answer_and_a_tool_that_must_be_called() -> None:
    schema = {"type": "object"}
    form = {"type": "json_schema", "name": "n", "schema": schema, "strict": True}

    async def test(triton: FakeTriton, served: Served) -> None:
        answer = await served.post("/v1/responses", **ASK, text={"format": form})
        assert answer.json()["text"]["format"] == form
        chosen = {"type": "function", "name": "add"}
        allowed = {"type": "allowed_tools", "mode": "required", "tools": [chosen]}
        for choice in (chosen, allowed):
            answer = await served.post("/v1/responses", **ASK, tools=[TOOL], tool_choice=choice)
            assert answer.json()["tool_choice"] == choice
        guides = [
            json.loads(json.loads(body["sampling_parameters"])["structured_outputs"])["json"]
            for body in triton.bodies
        ]
        assert guides[:2] == [schema, schema]
        assert guides[2]["items"]["properties"]["name"] == {"const": "add"}

    in_front(test, **with_model())


def test_log_probabilities_belong_to_the_text() -> None:
    position = {"5": {"logprob": -0.5, "rank": 1, "decoded_token": "Hi"}}
    script = [STREAM, said("Hi", "stop", logprobs=json.dumps([position])), END]

    async def test(_: FakeTriton, served: Served) -> None:
        more = {"include": ["message.output_text.logprobs"], "top_logprobs": 1}
        whole = (await served.post("/v1/responses", **ASK, **more)).json()
        (row,) = whole["output"][0]["content"][0]["logprobs"]
        assert (row["token"], row["logprob"], len(row["top_logprobs"])) == ("Hi", -0.5, 1)
        found = events((await served.post("/v1/responses", **ASK, **more, stream=True)).text)
        (delta,) = [event for event in found if event["type"] == "response.output_text.delta"]
        assert delta["logprobs"] == [row]

    in_front(test, script=script)


def test_an_error_inside_a_stream() -> None:
    import openai

    async def test(_: FakeTriton, served: Served) -> None:
        found = events((await served.post("/v1/responses", **ASK, stream=True)).text)
        assert [event["type"] for event in found[-3:]] == [
            "response.output_item.done", "error", "response.failed",
        ]  # fmt: skip
        assert found[-1]["response"]["error"]["code"] == "server_error"
        assert found[-1]["response"]["output"][0]["content"][0]["text"] == "a"
        with pytest.raises(openai.APIError, match="broke off"):
            async for _event in await client(served).responses.create(**ASK, stream=True):
                pass

    in_front(test, script=[STREAM, said("a"), "reset"])


def test_openais_client_reads_answers_and_streams() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        answers = client(served).responses
        answer = await answers.create(model="m", input="1 + 1?", tools=[TOOL])  # type: ignore[list-item]
        assert answer.output_text == "It is 2."
        async with answers.stream(model="m", input="1 + 1?", tools=[TOOL]) as stream:  # type: ignore[list-item]
            kinds = [event.type async for event in stream]
            last = await stream.get_final_response()
        assert kinds[-1] == "response.completed"
        assert last.output_text == "It is 2."
        assert last.output[-1].type == "function_call"

    in_front(test, script=words(*THOUGHT), **with_model(parser="hermes"))

"""Reasoning and tool calls in answers of every family of models."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trtbuild_gateway.parsing import (
    CallArguments,
    CallEnd,
    CallStart,
    Content,
    FamilyParser,
    Message,
    Reasoning,
    families,
)
from trtbuild_gateway.parsing.family import Family

ROWS = Path(__file__).parent / "parsing_answers.toml"
ANSWERS = tomllib.loads(ROWS.read_text("utf-8"))["answer"]
FAMILIES = list(families().values())
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"properties": properties}}}
    for name, properties in {
        "weather": {"town": {"type": "string"}, "days": {"type": "integer"}},
        "clock": {},
        "say": {"text": {"type": "string"}},
        "write": {
            "path": {"type": "string"},
            "text": {"type": "string"},
            "mode": {"type": ["integer", "null"]},
            "tags": {"anyOf": [{"type": "array"}, {"type": "null"}]},
        },
    }.items()
]


def parse(
    family: Family, pieces: list[str], prompt: str = "", reason: str = "stop", **more: Any
) -> Message:
    """Parse an answer; its events must say the same as its message."""
    numbers = iter(range(1000))
    options = {"tools": TOOLS, "new_id": lambda: f"call-{next(numbers)}", **more}
    parser = FamilyParser(family, prompt=prompt, **options)
    events = [event for piece in pieces for event in parser.feed(piece)]
    ended = parser.finish(reason)
    events += ended.events
    message = ended.message
    assert not parser.failed
    assert "".join(e.text for e in events if isinstance(e, Content)) == (message.content or "")
    assert "".join(e.text for e in events if isinstance(e, Reasoning)) == (message.reasoning or "")
    assert all(e.text for e in events if isinstance(e, (Content, Reasoning)))
    rows = [e for e in events if isinstance(e, (CallStart, CallArguments, CallEnd))]
    assert rows == [
        event
        for index, call in enumerate(message.tool_calls)
        for event in (
            CallStart(index, call.id, call.name),
            CallArguments(index, call.arguments),
            CallEnd(index),
        )
    ]
    assert all(isinstance(json.loads(call.arguments), dict) for call in message.tool_calls)
    return message


@pytest.mark.parametrize("row", ANSWERS, ids=lambda row: row["family"])
def test_answers_of_every_family(row: dict[str, Any]) -> None:
    family, text, prompt = families()[row["family"]], row["text"], row["prompt"]
    whole = parse(family, [text], prompt)
    calls = [[call.name, json.loads(call.arguments)] for call in whole.tool_calls]
    assert whole.content == row.get("content")
    assert whole.reasoning == row.get("reasoning")
    assert calls == [[name, json.loads(text, strict=False)] for name, text in row.get("calls", ())]
    ids = [call.id for call in whole.tool_calls]
    assert row.get("ids", ids) == ids
    assert whole.finish_reason == ("tool_calls" if calls else "stop")
    assert parse(family, list(text), prompt) == whole
    assert all(parse(family, [text[:at], text[at:]], prompt) == whole for at in range(len(text)))


def test_every_family_has_answers() -> None:
    assert {row["family"] for row in ANSWERS} == set(families())


@pytest.mark.parametrize("row", ANSWERS, ids=lambda row: row["family"])
def test_a_cut_call_is_no_call(row: dict[str, Any]) -> None:
    family, text = families()[row["family"]], row["text"]
    complete = [list(call) for call in row.get("calls", [])]
    for at in range(len(text)):
        message = parse(family, [text[:at]], row["prompt"], "length")
        calls = [[c.name, json.loads(c.arguments)] for c in message.tool_calls]
        wanted = [[name, json.loads(text, strict=False)] for name, text in complete]
        assert calls == wanted[: len(calls)], text[:at]
        assert message.finish_reason == "length"


def test_a_dangerous_command_that_is_cut_is_dropped() -> None:
    text = '<tool_call>\n{"name": "say", "arguments": {"text": "rm -rf /tmp/x'
    message = parse(families()["hermes"], [text], reason="length")
    assert (message.content, message.tool_calls) == (None, ())


def test_a_call_without_an_end_is_content_if_the_model_stopped() -> None:
    text = 'It is <tool_call>{"name": "say"'
    assert parse(families()["hermes"], [text]).content == text


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_any_text_in_any_pieces_is_parsed_alike(family: Family, data: st.DataObject) -> None:
    marks = {text for region in family.regions for text in region.open + region.until}
    marks |= {close.text for region in family.regions for close in region.close}
    marks |= {*family.drop, *family.restart, family.header_end, family.header_abort}
    answers = [row["text"] for row in ANSWERS if row["family"] == family.name]
    part = st.sampled_from([*sorted(marks), *answers, *'{}[]()"\\ \n<|', "say", "é😀", '{"name":'])
    text = "".join(data.draw(st.lists(part | st.text(max_size=5), max_size=12)))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=12)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    reason = data.draw(st.sampled_from(["stop", "length"]))
    options = {"calls": data.draw(st.booleans()), "parallel": data.draw(st.booleans())}
    whole = parse(family, [text], reason=reason, **options)
    assert parse(family, pieces, reason=reason, **options) == whole
    assert parse(family, list(text), reason=reason, **options) == whole


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_work_grows_with_the_text_alone(family: Family) -> None:
    opens = [text for region in family.regions for text in region.open] or ["<|channel|>"]
    starts = [text for region in family.regions for text in region.starts] or [""]
    for body in ("word ", '"', "{", " ", "<", f"{opens[-1]}{starts[-1]}", f"{opens[0]} x"):
        steps = []
        for size in (2_000, 4_000):
            parser = FamilyParser(family, tools=TOOLS)
            text = opens[-1] + starts[-1] + body * (size // len(body))
            for at in range(0, len(text), 4):
                parser.feed(text[at : at + 4])
            parser.finish()
            assert not parser.failed
            steps.append(parser.steps)
        assert steps[1] < 3 * steps[0] + 10_000, body


def test_a_megabyte_without_an_end() -> None:
    text = '<tool_call>{"name": "say", "arguments": {"text": "' + "é" * 1_000_000
    parser = FamilyParser(families()["hermes"], tools=TOOLS)
    for at in range(0, len(text), 64):
        assert parser.feed(text[at : at + 64]) == []
    assert parser.finish().message.content == text
    assert parser.steps < 3 * len(text)


def test_deep_json_is_content() -> None:
    text = '<tool_call>{"name": "say", "arguments": ' + "[" * 100_000 + "</tool_call>"
    assert parse(families()["hermes"], [text]).content == text


def test_half_a_surrogate_pair_can_be_encoded() -> None:
    text = r'<tool_call>{"name": "say", "arguments": {"text": "\ud83d"}}</tool_call>'
    call = parse(families()["hermes"], [text]).tool_calls[0]
    assert json.loads(call.arguments.encode()) == {"text": "\ud83d"}


def test_without_tools_calls_are_text() -> None:
    row = next(row for row in ANSWERS if row["family"] == "hermes" and "calls" in row)
    message = parse(families()["hermes"], [row["text"]], row["prompt"], calls=False)
    assert message.content.startswith("On it.\n<tool_call>")
    assert message.reasoning == "Two lookups."
    assert message.tool_calls == ()


def test_one_call_if_parallel_calls_are_not_allowed() -> None:
    row = next(row for row in ANSWERS if row["family"] == "mistral" and "calls" in row)
    message = parse(families()["mistral"], [row["text"]], row["prompt"], parallel=False)
    assert [call.name for call in message.tool_calls] == ["weather"]
    assert message.content == "Hm."


def test_ids_fit_the_family() -> None:
    ids = {}
    for name in ("mistral", "hermes"):
        row = next(row for row in ANSWERS if row["family"] == name and "calls" in row)
        ids[name] = parse(families()[name], [row["text"]], new_id=None).tool_calls[0].id
    assert ids["hermes"].startswith("call_") and len(ids["hermes"]) == 29
    assert len(ids["mistral"]) == 9 and ids["mistral"].isalnum()


def test_a_prefilled_answer_goes_on_where_it_was() -> None:
    prompt = "<|im_start|>assistant\n<think>\nHm.\n</think>\n\nThe answer"
    assert parse(families()["hermes"], [" is 4."], prompt).content == " is 4."
    prompt = "<|im_start|>user\n<think> is a tag<|im_end|>\n<|im_start|>assistant\n"
    assert parse(families()["hermes"], ["Yes."], prompt).content == "Yes."


def test_an_error_of_the_parser_does_not_reach_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    row = next(row for row in ANSWERS if row["family"] == "hermes" and "calls" in row)
    monkeypatch.setattr("trtbuild_gateway.parsing.parser.decode", lambda *_: 1 / 0)
    parser = FamilyParser(families()["hermes"])
    parser.feed(row["text"])
    ended = parser.finish()
    assert parser.failed
    assert '{"name": "weather"' in (ended.message.content or "")
    monkeypatch.setattr(FamilyParser, "_marker", lambda *_: 1 / 0)
    parser = FamilyParser(families()["hermes"])
    assert "".join(event.text for event in parser.feed("a<think>b")).endswith("a<think>b")

"""Answers of real servers and of broken ones: what is text, what is an error, what is neither."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from support.answers import HEAD, asked, chunk, delta, one
from trtbuild_measure.bench.model import Generation, Prompt, Stream
from trtbuild_measure.bench.targets.openai import OpenAITarget


def test_thoughts_are_text_and_none_is_lost_where_they_end() -> None:
    found = one(
        delta(role="assistant", content=""),
        delta(reasoning_content="Let me"),
        delta(reasoning=" see."),
        delta(reasoning_content=" So", content="It"),
        delta(content=" is"),
    )
    assert found.pieces == ["Let me", " see.", " SoIt", " is"]
    assert found.error == ""


def test_fields_that_are_null_are_not_there() -> None:
    usage = {"completion_tokens": 3, "prompt_tokens": None}
    found = one(
        {**delta(content="a"), "error": None, "usage": None}, {"choices": [], "usage": usage}
    )
    assert (found.error, found.pieces) == ("", ["a"])
    assert (found.output_tokens, found.input_tokens) == (3, None)


def test_an_error_inside_the_stream_is_told_in_its_own_words() -> None:
    found = one(delta(content="a"), {"error": {"message": "engine died", "code": 500}})
    assert (found.error, found.message) == ("server error", "engine died")


@pytest.mark.parametrize(
    "event",
    [
        delta(content=["a", "list"]),
        delta(content=7),
        delta(content="a", reasoning={"b": 1}),
        {"choices": [{"delta": "text"}]},
        {"choices": {"0": 1}},
        {"choices": [], "usage": [1]},
        '{"usage": {"completion_tokens": Infinity}}',
        "[" * 100_000,
        "null",
        "{",
    ],
)
def test_what_is_no_event_of_the_protocol_is_a_failure_and_no_crash(event: Any) -> None:
    found = one(delta(content="fine"), event)
    assert found.error == "malformed"
    assert found.message.startswith("not an event of the API: ")


def test_a_request_that_was_being_answered_is_not_sent_again() -> None:
    """The second request loses its connection after the role: it failed, whoever reuses what."""

    def answer(number: int) -> list[bytes]:
        if number == 2:
            return [HEAD + chunk(delta(role="assistant", content=""), done=False), b""]
        return [HEAD + chunk(delta(content="a")) + b"0\r\n\r\n"]

    streams, served = asyncio.run(asked(answer, 3))
    assert [stream.error for stream in streams] == ["", "dropped", ""]
    assert served == [2, 1]


def test_a_connection_that_closed_while_idle_costs_no_request() -> None:
    """The server hangs up as the second request comes, without a byte: it is sent once more."""

    def answer(number: int) -> list[bytes]:
        return [b""] if number == 2 else [HEAD + chunk(delta(content="a")) + b"0\r\n\r\n"]

    streams, served = asyncio.run(asked(answer, 2))
    assert [stream.error for stream in streams] == ["", ""]
    assert served == [2, 1]


def test_a_connection_that_is_opened_is_told_from_one_that_was_open() -> None:
    """Whoever closes after each answer makes the client late; that is not the client's doing."""
    kept, _ = asyncio.run(asked(lambda _: [HEAD + chunk(delta(content="a")) + b"0\r\n\r\n"], 3))
    assert kept[0].opening > 0
    assert [stream.opening for stream in kept[1:]] == [0, 0]
    closing = HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    parts = [closing + chunk(delta(content="a")) + b"0\r\n\r\n", b""]
    closed, served = asyncio.run(asked(lambda _: parts, 3))
    assert served == [1, 1, 1] and all(stream.opening > 0 for stream in closed)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        ("429 Too Many Requests", b'{"error": {"message": "slow down"}}', "slow down"),
        ("503 Busy", b"try later", "try later"),
        ("502 Bad", b"one\x1b[31m\r\ntwo\x00", "one [31m two"),
        ("307 Elsewhere\r\nLocation: https://b/v1", b"<html>", "sends requests on to https://b/v1"),
        ("401 No", b"no bearer-of-news here", "no *** here"),
    ],
)
def test_a_status_is_a_kind_of_its_own(status: str, body: bytes, said: str) -> None:
    """Also where the server repeats the key: what it says goes into results and reports."""
    head = f"HTTP/1.1 {status}\r\nRetry-After: 1\r\nContent-Length: {len(body)}\r\n\r\n"
    (found, after), served = asyncio.run(asked(lambda _: [head.encode() + body], 2))
    assert found.error == f"http {status[:3]}"
    assert said in found.message and "bearer" not in found.message
    assert after.error == found.error and served == [2], "the connection goes on"


def test_an_answer_that_does_not_end_is_a_timeout() -> None:
    async def stuck() -> Stream:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        target = OpenAITarget("a", f"http://127.0.0.1:{port}/v1", "m", Generation(), timeout=0.1)
        stream = Stream(Prompt("?", 1, 4), intended=0.0)
        await target.ask(stream)
        server.close()
        return stream

    found = asyncio.run(stuck())
    assert (found.error, found.message) == ("timeout", "no end within 0.1 s")

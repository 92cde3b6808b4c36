"""Streams as servers really send them: errors in disguise, cut characters, calls, thoughts."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tokenizers import Tokenizer

from support.answers import HEAD, asked, chunk, delta, one
from support.bench import tokenizer_json
from support.grpc_triton import official, serving
from trtbuild.signature import ServedModel, ServedTask, dialect_of
from trtbuild.wire import connections, triton_grpc
from trtbuild.wire.response import Parser
from trtbuild_measure.bench.counting import Counter
from trtbuild_measure.bench.guards import warnings, wrong_tokenizer
from trtbuild_measure.bench.ledger import Ledger
from trtbuild_measure.bench.metrics import itl, tpot
from trtbuild_measure.bench.metrics.goodput import Goodput
from trtbuild_measure.bench.model import Generation, Prompt, Stream, Timeline
from trtbuild_measure.bench.targets import streaming
from trtbuild_measure.bench.targets.triton import TritonModel
from trtbuild_measure.bench.targets.triton_grpc import GrpcExchange


def answered(head: str, body: bytes) -> Stream:
    """What is read of an answer with this content type and body."""
    top = f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    (stream,), _ = asyncio.run(asked(lambda _: [top + body]))
    return stream


def usage(made: int, **more: Any) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": made, **more}}


def ended(reason: Any, **more: Any) -> dict[str, Any]:
    return {"choices": [{"delta": {}, "finish_reason": reason, **more}]}


# ------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ('{"message": "engine died", "code": 500}', "engine died"),
        ('{"error": {"message": "engine died"}}', "engine died"),
        ("engine died", "engine died"),
        ("{}", "an event of the kind error"),
    ],
)
def test_an_event_called_error_is_a_failure(data: str, said: str) -> None:
    before = f"data: {json.dumps(delta(content='a'))}\n\n"
    body = f"{before}event: error\ndata: {data}\n\ndata: [DONE]\n\n".encode()
    found = answered("200 OK\r\nContent-Type: text/event-stream", body)
    assert (found.error, found.message, found.pieces) == ("server error", said, ["a"])


def test_another_event_after_an_error_is_none() -> None:
    found: list[bytes] = []
    parser = Parser(lambda _, event: found.append(event))
    parser.feed(0.0, HEAD.replace(b"Transfer-Encoding: chunked", b"Content-Length: 51"))
    parser.feed(1.0, b"event: error\ndata: x\n\nevent: message\ndata: {}\n\n    ")
    assert found == [b'{"error": "x"}', b"{}"]


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (ended("error"), "finish_reason error"),
        (ended("abort"), "finish_reason abort"),
        (ended("insufficient_system_resource"), "finish_reason insufficient_system_resource"),
        (ended({"type": "abort", "message": "no memory"}), "no memory"),
        (ended("error", error={"code": 502, "message": "upstream died"}), "upstream died"),
        ({"object": "error", "message": "CUDA out of memory", "code": 500}, "CUDA out of memory"),
        ({"error": {"detail": "boom"}}, "boom"),
    ],
)
def test_an_end_that_is_a_failure_is_one(event: Any, said: str) -> None:
    found = one(delta(content="a"), event)
    assert (found.error, found.message) == ("server error", said)


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter", "eos_token"])
def test_an_end_of_the_model_is_none(reason: str) -> None:
    found = one(delta(content="a"), ended(reason))
    assert (found.error, found.finish_reason) == ("", reason)


@pytest.mark.parametrize(
    ("kind", "body", "error", "said"),
    [
        ("application/json", b'{"error": {"message": "quota exceeded"}}', "server error",
         "quota exceeded"),
        ("application/json", b'{"detail": "not yet"}', "server error", "not yet"),
        ("application/json", b'{"id": "x", "choices": [{"message": {}}]}', "malformed",
         "the answer came whole, not as an event stream: the server does not stream"),
        ("text/html", b"<html>Bad gateway</html>", "malformed",
         "the answer is not an event stream: <html>Bad gateway</html>"),
        ("text/event-stream", b'{"error": "quota exceeded"}', "server error", "quota exceeded"),
        ("text/event-stream", b": ping\n\n", "dropped",
         "the stream ended without a reason or [DONE]"),
    ],
)  # fmt: skip
def test_an_error_of_status_200_keeps_its_words(
    kind: str, body: bytes, error: str, said: str
) -> None:
    found = answered(f"200 OK\r\nContent-Type: {kind}", body)
    assert (found.error, found.message) == (error, said)


def test_the_first_failure_is_the_one_that_is_told() -> None:
    body = HEAD + chunk({"error": {"message": "engine died"}}, done=False)
    (found,), _ = asyncio.run(asked(lambda _: [body, b""]))
    assert (found.error, found.message) == ("server error", "engine died")


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (HEAD + chunk({"error": "engine died"}, done=False), "server error", "engine died"),
        (HEAD + chunk("no JSON", done=False), "malformed", "not an event of the API: no JSON"),
        (b"HTTP/1.1 500 No\r\n\r\nengine died", "http 500", "engine died"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 99\r\n\r\nengine died", "http 500", "engine died"),
    ],
    ids=["event", "malformed", "no length", "cut"],
)
def test_a_failed_answer_that_never_ends_is_left(
    answer: bytes, error: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_LINGER_SECONDS", 0.1)
    monkeypatch.setattr(connections, "_REFUSAL_SECONDS", 0.1)
    found, served = asyncio.run(asked(lambda _: [answer], 2))
    assert [(one.error, one.message) for one in found] == [(error, said)] * 2
    assert all(one.ended - one.started < 60 for one in found), "the timeout is 120 s"
    assert served == [1, 1], "the rest of it must not be taken for the next answer"


def test_a_failed_stream_of_triton_that_never_ends_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(triton_grpc, "_END_SECONDS", 0.1)
    served = ServedModel("m", ServedTask.GENERATE, "vllm")
    dialect = dialect_of(served)
    assert dialect is not None
    model = TritonModel(served, dialect, Generation())
    failed = official.ModelStreamInferResponse(error_message="engine is dead")
    stream = Stream(Prompt("?", 1, 4), intended=0.0)

    async def ask() -> None:
        async with serving({"ModelStreamInfer": [failed, "hold"]}) as server:
            exchange = GrpcExchange(server.url, "m", 120)
            await exchange.generate(model, stream)
            await exchange.close()

    asyncio.run(ask())
    assert (stream.error, stream.message) == ("server error", "engine is dead")
    assert stream.ended - stream.started < 60, "the timeout is 120 s"


def test_created_is_as_good_as_ok() -> None:
    body = f"data: {json.dumps(delta(content='a'))}\n\ndata: [DONE]\n\n".encode()
    found = answered("201 Created\r\nContent-Type: text/event-stream", body)
    assert (found.error, found.pieces) == ("", ["a"])


# ---------------------------------------------------------------------------- text and its lines


def test_lone_halves_of_a_character_are_replaced() -> None:
    found = one(
        '{"choices":[{"delta":{"content":"a\\ud83d"}}]}',
        '{"choices":[{"delta":{"content":"\\ude42"}}]}',
        '{"choices":[{"delta":{"content":"\\ud83d\\ude42"}}]}',
    )
    assert (found.error, found.pieces) == ("", ["a\ufffd", "\ufffd", "🙂"])
    ledger = Ledger(Counter(Tokenizer.from_str(tokenizer_json())), Goodput({}))
    found.output_tokens = 7
    ledger.add(found, measured=True)
    assert (ledger.tokens.output, ledger.tokens.compared) == (7, 0), "by the server's count"
    (told,) = [text for text in warnings("a", ledger) if "U+FFFD" in text]
    assert told.startswith("1 of 1 answers of a had split characters")


@pytest.mark.parametrize("cut", [1, 2, 7, 10_000])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_the_standard_allows(end: str, cut: int) -> None:
    events = [b'{"a": 1}', b'{"b": 2}', b"[DONE]"]
    body = b"".join(b"data: " + event + 2 * end.encode() for event in events)
    found: list[bytes] = []
    parser = Parser(lambda _, event: found.append(event))
    data = HEAD.replace(b"Transfer-Encoding: chunked", f"Content-Length: {len(body)}".encode())
    for at in range(0, len(data + body), cut):
        parser.feed(float(at), (data + body)[at : at + cut])
    assert found == events


def test_a_carriage_return_ends_its_event_at_once() -> None:
    found: list[tuple[float, bytes]] = []
    parser = Parser(lambda now, event: found.append((now, event)))
    parser.feed(0.0, HEAD.replace(b"Transfer-Encoding: chunked", b"Content-Length: 99"))
    parser.feed(1.0, b"data: 1\r\r")
    parser.feed(2.0, b"data: 2\r\n\r")
    parser.feed(3.0, b"\ndata: 3")
    assert found == [(1.0, b"1"), (2.0, b"2")]


def test_content_may_come_in_parts() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]
    assert one(delta(content=parts)).pieces == ["ab"]
    assert one(delta(refusal="I will not")).pieces == ["I will not"]


# --------------------------------------------------------------------------- what tokens belong to


def timed(stream: Stream, step: float = 0.02) -> Stream:
    """The stream with a piece every ``step`` seconds, the first after 0.1."""
    stream.arrivals = [0.1 + step * number for number in range(len(stream.pieces))]
    stream.intended, stream.started, stream.ended = 0.0, 0.0, stream.arrivals[-1]
    return stream


def call(**function: str) -> dict[str, Any]:
    return delta(tool_calls=[{"index": 0, "function": function}])


def test_the_first_piece_of_a_tool_call_is_the_first_token() -> None:
    pieces = [call(name="f", arguments=""), *(call(arguments=' "w"') for _ in range(4))]
    found = timed(one(delta(role="assistant"), *pieces, ended("tool_calls"), usage(12)))
    assert (found.error, found.calls, len(found.pieces)) == ("", True, 5)
    line = Counter(Tokenizer.from_str(tokenizer_json())).timeline(found)
    assert line.output_tokens == max(12, sum(line.tokens)), "with the markup that opens the call"
    assert itl.values(line) == pytest.approx((20.0 / line.tokens[1],) * sum(line.tokens[1:]))
    ledger = Ledger(Counter(Tokenizer.from_str(tokenizer_json())), Goodput({}))
    ledger.add(found, measured=True)
    assert (ledger.ok, ledger.tokens.compared) == (1, 0), "its markup is nobody's text"
    assert Counter().timeline(found).output_tokens == 12


def test_a_function_call_is_the_older_name_of_a_tool_call() -> None:
    found = one(delta(function_call={"name": "f"}), delta(function_call={"arguments": "{}"}))
    assert (found.calls, "".join(found.pieces)) == (True, "f{}")


def test_nothing_counts_after_the_end() -> None:
    found = one(delta(content="a"), ended("stop"), usage(1), "[DONE]", delta(content="late"))
    assert (found.error, found.pieces, found.output_tokens) == ("", ["a"], 1)


def test_usage_in_each_chunk_counts_its_tokens() -> None:
    """Eight tokens in the first chunk, then one in each: no tokenizer is needed."""
    events = [{**delta(content="w " * 8), "usage": {"completion_tokens": 8}}]
    events += [{**delta(content="w "), "usage": {"completion_tokens": 9 + n}} for n in range(12)]
    line = Counter().timeline(timed(one(*events, usage(20))))
    assert line.tokens == (8, *(1,) * 12)
    assert itl.values(line) == pytest.approx((20.0,) * 12)
    assert tpot.values(line) == pytest.approx((20.0,))


def test_usage_that_goes_back_is_no_count() -> None:
    events = [{**delta(content="a"), "usage": {"completion_tokens": n}} for n in (5, 3)]
    assert Counter().timeline(one(*events)).tokens == ()


def test_a_bundled_first_chunk_flatters_nobody() -> None:
    line = Timeline(0, 0, 0.34, tuple(0.1 + 0.02 * n for n in range(13)), (8, *(1,) * 12), 20, 5)
    assert tpot.values(line) == pytest.approx((20.0,))
    ledger = Ledger(Counter(), Goodput({}))
    ledger.ok = ledger.tokens.chunked = 3
    ledger.tokens.first, ledger.tokens.output, ledger.asked_tokens = 24, 60, 60
    (told,) = [text for text in warnings("a", ledger) if "first chunk" in text]
    assert told.startswith("a sends 8.0 tokens in its first chunk: TTFT is the time of all of them")
    ledger.tokens.first = 6
    assert not [text for text in warnings("a", ledger) if "first chunk" in text]


def test_all_tokens_in_one_chunk_have_no_pace() -> None:
    assert tpot.values(Timeline(0, 0, 0.3, (0.1,), (8,), 8, 5)) == ()


def thought(made: int, hidden: int, **more: Any) -> dict[str, Any]:
    return usage(made, completion_tokens_details={"reasoning_tokens": hidden}, **more)


@pytest.mark.parametrize(
    "last",
    [
        thought(20, 12),
        usage(20, reasoning_tokens=12),
        thought(8, 12, total_tokens=25),  # counted apart
    ],
    ids=["inside", "beside", "apart"],
)
@pytest.mark.parametrize("counted", [True, False], ids=["tokenizer", "server"])
def test_hidden_thoughts_are_told_apart(last: dict[str, Any], counted: bool) -> None:
    words = [delta(content=" lorem") for _ in range(8)]
    found = timed(one(*words, ended("length"), last))
    assert (found.output_tokens, found.hidden, found.shown) == (20, 12, 8)
    tokenizer = Tokenizer.from_str(tokenizer_json()) if counted else None
    ledger = Ledger(Counter(tokenizer), Goodput({}))
    found.prompt = Prompt("?", 1, 20)
    ledger.add(found, measured=True)
    assert (ledger.tokens.output, ledger.tokens.hidden) == (8, 12)
    assert wrong_tokenizer("a", ledger) == ""
    told = warnings("a", ledger)
    assert any(text.startswith("a spent 12.0 hidden reasoning tokens") for text in told)
    assert not any("were asked for" in text for text in told)


def test_thoughts_that_are_shown_are_text() -> None:
    found = one(delta(reasoning_content="a"), delta(content="b"), thought(2, 1))
    assert (found.hidden, found.shown, found.pieces) == (0, 2, ["a", "b"])


def test_an_empty_answer_says_how_it_ended() -> None:
    ledger = Ledger(Counter(), Goodput({}))
    ledger.add(one(ended("stop")), measured=True)
    assert ledger.failures.messages == {
        "empty": ["a complete answer without any text (finish_reason stop)"]
    }

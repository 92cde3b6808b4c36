"""Texts that go from the server's packet straight to the client: the same stream, and no others."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import random
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from support.fake_triton import FakeTriton, said
from support.gateways import Served, in_front
from support.scripted_http import END, STREAM, Step, event
from trtbuild.signature.dialects.chunks import chunk
from trtbuild.signature.requests import Chunk
from trtbuild.wire.failures import WireError
from trtbuild.wire.response import Parser
from trtbuild_gateway.http import direct
from trtbuild_gateway.upstream.events import BrokenError, _General, _Plain
from trtbuild_gateway.upstream.packets import PacketReader

PACE = 0.004  # seconds between packets, so that each is read alone
TEXTS = ["Hel", "lo", " wörld", "\n", '"', "\\", "😀", "", " ", "</", "x" * 5000, "!", "a\u2028b"]
LEAD = ["Hel"] * 20  # a loaded machine may read several before the fast path begins
ASKED: dict[str, Any] = {"model": "m", "stream": True, "max_tokens": 20}
CHAT = {**ASKED, "messages": [{"role": "user", "content": "Hello"}]}
COMPLETION = {**ASKED, "prompt": "Hello"}


def paced(packets: Sequence[bytes]) -> list[Step]:
    """A stream of packets."""
    steps: list[Step] = [STREAM]
    for packet in packets:
        steps += [packet, PACE]
    return [*steps, said("", "stop"), END]


def events(body: str) -> list[Any]:
    """The events of a stream without what differs between two requests."""
    rows = [row[6:] for row in body.split("\n\n") if row]
    assert rows.pop() == "[DONE]"
    return [{**json.loads(row), "id": "", "created": 0} for row in rows]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that take the fast path."""
    found: list[str] = []
    for kind in (direct.PlainSink, direct.CheckedSink, direct.ReadSink):

        def take(self: Any, raws: Any, texts: Any, tokens: Any, old: Any = kind.take) -> bool:
            taken: bool = old(self, raws, texts, tokens)
            found.extend(texts if taken else ())
            return taken

        monkeypatch.setattr(kind, "take", take)
    return found


MASKED = {"access": {"masking": {"default": [{"find": ["email"]}]}}}


@pytest.mark.parametrize(
    ("path", "body", "settings"),
    [
        ("/v1/chat/completions", CHAT, {}),
        ("/v1/chat/completions", {**CHAT, "stream_options": {"include_usage": True}}, MASKED),
        ("/v1/completions", {**COMPLETION, "n": 2}, {}),
        ("/v1/messages", CHAT, {}),
        ("/v1/messages", CHAT, MASKED),
    ],
)
def test_the_fast_path_sends_the_same_stream(
    path: str, body: dict[str, Any], settings: dict[str, Any], sent: list[str]
) -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        packets, found = [said(text) for text in (*LEAD, *TEXTS)], []
        for script in ([STREAM, *packets, said("", "stop"), END], paced(packets)):
            scripts["m"] = script
            answer = await served.post(path, **body)
            assert answer.status_code == 200
            found.append(answer.text)
        whole, straight = found
        if path == "/v1/messages":
            assert (
                _texts_of_messages(straight)
                == _texts_of_messages(whole)
                == "".join([*LEAD, *TEXTS])
            )
        else:
            key = lambda one: json.dumps(one["choices"][:1])[:14]  # noqa: E731 - by choice
            assert sorted(events(straight), key=key) == sorted(events(whole), key=key)
        assert {" wörld", "\n", '"', "😀"} <= set(sent)

    scripts: dict[str, Any] = {}
    in_front(test, script=lambda _: scripts["m"], **settings)


def _texts_of_messages(body: str) -> str:
    rows = [json.loads(row[6:]) for row in body.split("\n") if row.startswith("data: ")]
    return "".join(row["delta"].get("text", "") for row in rows if "delta" in row)


def test_a_slow_client_loses_nothing(sent: list[str]) -> None:
    """It reads late: texts wait on the usual path, the server is not read, and all arrive."""
    count, text = 3000, "x" * 2000

    async def test(triton: FakeTriton, served: Served) -> None:
        host, port = served.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 12)
        body = json.dumps(COMPLETION).encode()
        head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await reader.readexactly(1000)
        async with asyncio.timeout(60):
            before = -1
            while len(sent) > before:  # until nothing more is read from the server
                before = len(sent)
                await asyncio.sleep(0.2)
        assert before < count
        rest = await reader.read()
        assert rest.count(text.encode()) in (count, count - 1)  # one may be in the first bytes
        assert rest.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        writer.close()

    in_front(
        test,
        script=[
            STREAM,
            said("a"),
            PACE,
            said("b"),
            PACE,
            *[said(text)] * count,
            said("", "stop"),
            END,
        ],
    )


def test_an_error_after_the_fast_path_ends_the_stream(sent: list[str]) -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        answer = await served.post("/v1/chat/completions", **CHAT)
        *_, last = events(answer.text)
        assert last["error"]["message"].endswith("out of memory")
        assert served.gateway.metrics is not None
        assert sent[-1] == " there"

    steps = [*map(said, LEAD), said(" there"), event('{"error":"out of memory"}')]
    in_front(test, script=paced(steps))


@pytest.mark.slow
def test_a_request_leaves_nothing_to_the_garbage_collector() -> None:
    """What only a full collection finds grows by thousands of requests before there is one."""

    async def test(_: FakeTriton, served: Served) -> None:
        host, port = served.url.removeprefix("http://").split(":")
        body = json.dumps(COMPLETION).encode()
        head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"

        async def ask(times: int) -> None:
            for _ in range(times):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
                assert (await reader.read()).endswith(b"[DONE]\n\n\r\n0\r\n\r\n")
                writer.close()

        await ask(3)
        gc.collect()
        gc.disable()
        try:
            await ask(20)
            # Clients of asyncio's own leave a few objects with some releases of Python.
            assert gc.collect() < 20 * 10
        finally:
            gc.enable()

    in_front(test, script=paced([said("a"), said("b"), said("c")]))


def test_nothing_goes_past_a_stream_that_has_had_only_heartbeats() -> None:
    """Such a request may still be answered by a fallback; a text of the first model stays."""

    async def run() -> None:
        client = SimpleNamespace(transport=SimpleNamespace(write=None), writable=True)
        exchange: Any = SimpleNamespace(client=client, started=True, spoken=False)
        choice: Any = SimpleNamespace(first=1.0)
        sink = direct.ReadSink(exchange, choice, lambda *_: b"")
        assert not sink.ready
        exchange.spoken = True
        assert sink.ready

    asyncio.run(run())


class Taken:
    """A sink that keeps the texts."""

    ready = True
    clock: Any = None

    def __init__(self) -> None:
        self.raws: list[bytes] = []
        self.texts: list[str] = []
        self.tokens: list[int | None] = []

    def take(self, raws: Sequence[bytes], texts: Sequence[str], tokens: int | None) -> bool:
        self.raws += raws
        self.texts += texts
        self.tokens += [tokens] * len(texts)
        return True


def parsed(*packets: bytes) -> list[Chunk]:
    """What the parser and the decoder make of packets after the head."""
    found: list[bytes] = []
    parser = Parser(lambda _, one: found.append(one))
    for packet in (STREAM, *packets):
        parser.feed(0.0, packet)
    return _Plain(_General(chunk)).decode(found)


def learned(packet: bytes) -> tuple[PacketReader, Taken]:
    """A reader that has seen a packet."""
    sink = Taken()
    reader = PacketReader(sink)
    assert not reader.take(packet)
    found: list[bytes] = []
    parser = Parser(lambda _, one: found.append(one))
    parser.feed(0.0, STREAM + packet)
    reader.learn(found, parsed(packet))
    return reader, sink


@pytest.mark.parametrize("compact", [False, True])
def test_packets_are_read_as_the_parser_reads_them(compact: bool) -> None:
    """Whatever changed bytes it takes, the parser takes, and as the same texts."""

    def one(text: str, tokens: int = 1) -> bytes:
        made = {"model_name": "m", "text_output": text, "num_output_tokens": tokens}
        separators = (",", ":") if compact else None
        return event(json.dumps(made, separators=separators, ensure_ascii=compact))

    reader, sink = learned(one("first"))
    dice = random.Random(1)
    taken = 0
    for _ in range(3000):
        texts = [dice.choice(TEXTS) for _ in range(dice.choice((1, 1, 2, 5)))]
        packet = bytearray(b"".join(map(one, texts)))
        for _ in range(dice.choice((0, 0, 1, 2))):
            packet[dice.randrange(len(packet))] = dice.choice(b'"\\\n\r{}:,a0\x00\xff')
        if not reader.take(bytes(packet)):
            continue
        taken += 1
        chunks = parsed(one("first"), bytes(packet))[1:]
        assert [c.text for c in chunks] == sink.texts
        assert [c.output_tokens for c in chunks] == sink.tokens
        assert [json.loads(raw) for raw in sink.raws] == sink.texts
        assert not any(b"\n" in raw for raw in sink.raws)
        sink.texts, sink.raws, sink.tokens = [], [], []
    assert taken > 1000


@pytest.mark.parametrize(
    "packet",
    [
        event('{"text_output":"a","text_output":"b"}'),
        event('{"x":{"text_output":"a"},"text_output":"a"}'),
        event('{"text_output":"a","finish_reason":"stop"}'),
        event('{"text_output":"a"}').replace(b"1b", b"1B", 1),
        event('{"text_output":"' + "a" * 5000 + '"}'),
    ],
)
def test_what_is_not_a_text_alone_teaches_nothing(packet: bytes) -> None:
    sink, found = Taken(), []
    reader = PacketReader(sink)
    Parser(lambda _, one: found.append(one)).feed(0.0, STREAM + packet)
    for _ in range(2):
        assert not reader.take(packet)
        with contextlib.suppress(WireError, BrokenError):
            reader.learn(found, _Plain(_General(chunk)).decode(found))
    assert not sink.texts

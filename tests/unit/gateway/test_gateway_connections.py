"""What a client may send on one connection: heads, trailers, requests ahead, offers to upgrade."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest

from support.fake_triton import FakeTriton, said, words
from support.gateways import Served, in_front
from support.scripted_http import STREAM, chunk

PIECE = b"a" * 65536
CHUNKED = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
ASKED = json.dumps({"model": "m", "prompt": "Hi", "max_tokens": 5}).encode()
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
MODELS = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n%b\r\n"


@contextlib.asynccontextmanager
async def connected(
    served: Served,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = served.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(60):
            yield reader, writer
    finally:
        writer.transport.abort()


async def answered(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read a whole answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return int(head.split()[1]), await reader.readexactly(int(length))


async def cut_off(served: Served, first: bytes, more: bytes) -> int:
    """Send until the gateway closes the connection; return the bytes that were sent."""
    async with connected(served) as (reader, writer):
        sent = len(first)
        writer.write(first)
        reading = asyncio.create_task(reader.read(-1))
        with contextlib.suppress(ConnectionError):
            while not reading.done() and not writer.is_closing():
                writer.write(more)
                sent += len(more)
                await writer.drain()
                await asyncio.sleep(0)
        with contextlib.suppress(ConnectionError):
            await reading
    return sent


def test_nothing_is_read_without_end() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
        body = chunk(ASKED)
        triton.scripts["m"] = [STREAM, said("a"), "hold"]
        for first, more in (
            (head + b"X-A: ", PIECE),
            (head, b"".join(b"X-%d: a\r\n" % number for number in range(5000))),
            (b"GET /", PIECE),
            (CHUNKED + b"5;", PIECE),  # an extension of a chunk
            (CHUNKED + body + b"0\r\nX-T: ", PIECE),
            (CHUNKED + body + b"0\r\n", b"X-T: %b\r\n" % PIECE[:5000] * 10),
            (CHUNKED + body + b"0\r\n\r\n", MODELS % b"" * 1000),  # behind an open answer
            (CHUNKED + body + b"0\r\n\r\n" + CHUNKED, chunk(PIECE)),
        ):
            sent = await cut_off(served, first, more)
            assert sent < 64_000_000, (first, sent)  # what the system's buffers hold is sent, too
        assert (await served.client.get("/v1/models")).status_code == 200

    in_front(test)


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET / HTTP/1.1\r\nX-A: " + PIECE, 431, "head_too_large"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "invalid_http"),
        (CHUNKED.replace(b"Host: x", b"Content-Length: 5"), 400, "invalid_http"),
    ],
)
def test_what_is_no_request_is_told(sent: bytes, status: int, code: str) -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        async with connected(served) as (reader, writer):
            writer.write(sent)
            found, content = await answered(reader)
            assert (found, json.loads(content)["error"]["code"]) == (status, code)
            assert await reader.read() == b""

    in_front(test)


def test_only_so_many_requests_wait_behind_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        async with connected(served) as (reader, writer):
            writer.write(MODELS % b"" * 200)
            assert [(await answered(reader))[0] for _ in range(200)] == [200] * 200
        triton.scripts["m"] = [STREAM, said("a"), "hold"]
        async with connected(served) as (reader, writer):
            writer.write(CHUNKED + chunk(ASKED) + b"0\r\n\r\n" + MODELS % b"" * 300)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        assert "without waiting for answers" in caplog.text

    in_front(test)


def test_a_trailer_is_no_header() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        async with connected(served) as (reader, writer):
            for end, own in ((b"X-Request-Id: late\r\n\r\n", False), (b"\r\n", True)):
                head = CHUNKED.replace(b"Host: x", b"X-Request-Id: own") if own else CHUNKED
                writer.write(head + chunk(ASKED) + b"0\r\n" + end)
                found = (await reader.readuntil(b"\r\n\r\n")).lower()
                assert b"x-request-id: " in found and b"late" not in found
                assert (b"x-request-id: own" in found) is own
                length = found.partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))

    in_front(test)


def test_a_client_that_sends_no_further_request_is_let_go() -> None:
    unread = (MODELS % b"").replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\n")

    async def test(_: FakeTriton, served: Served) -> None:
        served.server.config.timeout_keep_alive = 1
        for request, more in ((MODELS % b"", b"\r\n"), (unread, b"a")):
            async with connected(served) as (reader, writer):
                writer.write(request)
                assert (await answered(reader))[0] == 200
                writer.write(more)
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""

    in_front(test)


def test_an_offer_to_upgrade_keeps_the_body(caplog: pytest.LogCaptureFixture) -> None:
    lengths = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n" + UPGRADE
    whole = lengths + b"Content-Length: %d\r\n\r\n%b" % (len(ASKED), ASKED)
    chunks = CHUNKED.replace(b"Host: x\r\n", UPGRADE) + chunk(ASKED) + b"0\r\n\r\n"

    async def test(triton: FakeTriton, served: Served) -> None:
        triton.scripts["m"] = words("Hi")
        async with connected(served) as (reader, writer):
            for request in (whole, chunks, whole):
                for piece in (request[:-20], request[-20:]):
                    writer.write(piece)
                    await asyncio.sleep(0.01)
                status, content = await answered(reader)
                assert (status, json.loads(content)["choices"][0]["text"]) == (200, "Hi")
            writer.write(MODELS % UPGRADE * 2)  # at once
            assert [(await answered(reader))[0] for _ in range(2)] == [200, 200]
        assert not caplog.messages

    in_front(test)


def test_an_offer_to_upgrade_with_a_body_of_no_known_end_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        async with connected(served) as (reader, writer):
            writer.write(CHUNKED.replace(b"Host: x\r\n", UPGRADE).replace(b"chunked", b"gzip"))
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        assert not caplog.messages

    in_front(test)

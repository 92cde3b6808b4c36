"""HTTP responses and events, however their bytes are cut."""

from __future__ import annotations

import random

import pytest

from trtbuild.wire.failures import MalformedError
from trtbuild.wire.pool import Pool
from trtbuild.wire.response import Parser

EVENTS = [b'{"a": 1}', '{"b": "東"}'.encode(), b"[DONE]"]
BODY = b": ping\n\n" + b"".join(b"data: " + event + b"\r\n\r\n" for event in EVENTS)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(f"{len(p):x};x=y\r\n".encode() + p + b"\r\n" for p in parts) + b"0\r\n\r\n"


def read(data: bytes, cut: int) -> tuple[Parser, list[bytes], bool]:
    found: list[bytes] = []
    parser = Parser(lambda now, event: found.append(event))
    done = False
    for at in range(0, len(data), cut):
        done = parser.feed(float(at), data[at : at + cut])
    return parser, found, done


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 50, 10_000])
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_events_survive_every_cut(cut: int, size: int) -> None:
    data = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(BODY, size)
    parser, found, done = read(data, cut)
    assert found == EVENTS
    assert done and parser.keep_alive


@pytest.mark.parametrize("cut", [1, 9, 10_000])
def test_a_body_of_known_length(cut: int) -> None:
    data = HEAD + f"Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY
    assert read(data, cut)[1:] == (EVENTS, True)


def test_a_body_until_the_connection_closes() -> None:
    parser, found, done = read(HEAD + b"\r\n" + BODY.rstrip(), 11)
    assert not done and found == EVENTS[:-1]
    assert parser.finish(0.0)
    assert found == EVENTS
    assert not parser.keep_alive


def test_a_closed_connection_does_not_complete_a_chunked_answer() -> None:
    whole = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(BODY, 20)
    parser, _, done = read(whole[:-5], 10_000)
    assert not done
    assert not parser.finish(0.0)


def test_an_error_has_a_body_and_no_events() -> None:
    body = b'data: {"error": "no"}'
    head = b"HTTP/1.1 400 Bad\r\nContent-Type: text/event-stream\r\nConnection: close\r\n"
    parser, found, done = read(head + b"Content-Length: 21\r\n\r\n" + body, 5)
    assert done and found == []
    assert (parser.response.status, parser.response.body) == (400, body)
    assert not parser.keep_alive


def test_continue_comes_before_an_answer() -> None:
    data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 None\r\nContent-Length: 0\r\n\r\n"
    parser, _, done = read(data, 10_000)
    assert done and parser.response.status == 204


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 70_000,
        b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabc\r\n",
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000,
    ],
)
def test_what_is_not_http(data: bytes) -> None:
    with pytest.raises(MalformedError):
        read(data, 10_000_000)


def test_hints_come_before_an_answer_and_some_answers_have_no_body() -> None:
    """A status that has no body is over with its head: a length that never comes is not awaited."""
    data = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
    parser, _, done = read(data, 3)
    assert done and parser.response.status == 204
    assert parser.keep_alive


def test_a_packed_error_is_no_text() -> None:
    head = b"HTTP/1.1 502 Bad\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n"
    parser, _, done = read(head + b"\x1f\x8b\x08\x00", 100)
    assert done and (parser.response.status, parser.response.body) == (502, b"")


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("http://127.0.0.1:80/v1", "127.0.0.1:80", "/v1/models"),
        ("http://[::1]:8000/v1/", "[::1]:8000", "/v1/models"),
        ("https://example.org/a/b", "example.org", "/a/b/models"),
        ("http://b\u00fccher.example/\u6771 1/v%20", "xn--bcher-kva.example", None),
        ("http://h:1/v1?api-version=2", "h:1", "/v1/models?api-version=2"),
    ],
)
def test_a_request_names_host_and_path(url: str, host: str, path: str | None) -> None:
    first, second = Pool(url).request("GET", "/models").split(b"\r\n")[:2]
    path = path or "/%E6%9D%B1%201/v%20/models"
    assert first.decode() == f"GET {path} HTTP/1.1"
    assert second.decode() == f"Host: {host}"


def test_an_old_server_closes_and_may_not_name_its_stream() -> None:
    data = b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
    parser, found, done = read(data, 13)
    assert done and found == EVENTS
    assert not parser.keep_alive


def test_json_is_no_stream() -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    parser, found, done = read(data, 100)
    assert done and not found and not parser.response.events
    assert parser.response.body == b"{}"


def events(body: bytes, cut: int = 10_000) -> list[tuple[float, bytes]]:
    """Each event and the place of the bytes that it came with."""
    found: list[tuple[float, bytes]] = []
    parser = Parser(lambda now, event: found.append((now, event)))
    data = HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    for at in range(0, len(data), cut):
        parser.feed(float(at), data[at : at + cut])
    return found


@pytest.mark.parametrize("cut", [1, 4, 10_000])
def test_an_event_of_several_lines_is_one(cut: int) -> None:
    body = b'data: {"a":\ndata:  [1,\ndata: 2]}\n: a comment\nid: 7\n\ndata:\n\ndata: [DONE]\n\n'
    assert [event for _, event in events(body, cut)] == [b'{"a":\n[1,\n2]}', b"[DONE]"]


def test_events_without_an_empty_line_between_are_told_apart_and_timed_each() -> None:
    lines = [b'data: {"a": 1}\n', b'data: {"b": 2}\n', b"data: [DONE]\n"]
    found: list[tuple[float, bytes]] = []
    parser = Parser(lambda now, event: found.append((now, event)))
    parser.feed(0.0, HEAD + b"Content-Length: 43\r\n\r\n")
    for number, line in enumerate(lines, 1):
        done = parser.feed(float(number), line)
    assert done
    assert found == [(1.0, b'{"a": 1}'), (2.0, b'{"b": 2}'), (3.0, b"[DONE]")]


def test_a_connection_with_trailers_is_not_used_again() -> None:
    data = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(BODY, 50)[:-2] + b"X: y\r\n\r\n"
    parser, found, done = read(data, 10_000)
    assert done and found == EVENTS
    assert not parser.keep_alive


@pytest.mark.parametrize("length", [b"\xb2", b"9" * 5000, b"-1", b"ten"])
def test_a_length_that_is_none_leaves_the_body_open(length: bytes) -> None:
    parser, found, done = read(HEAD + b"Content-Length: " + length + b"\r\n\r\n" + BODY, 10_000)
    assert not done and found == EVENTS
    assert parser.finish(0.0) and not parser.keep_alive


PIECES = [
    b'data: {"a": 1}\n\n', b'data: {"a": 1}\n\ndata: {"b": 2}\n\n', b'data: {"a":', b' 1}\n\n',
    b"data: [DONE]\n\n", b": ping\n\n", b'data: {"a": 1}\r\n\r\n', b'data:{"a": 1}\n\n', b"\n\n",
    b'event: error\ndata: {"error": "x"}\n\n', b'data: {"a": "\\n\\n\\r\\n"}\n\n', b"data: \n\n",
    b'data: {"a": 1} \n\n', b'data: {"a": 1}\n', b'id: 7\ndata: {"a": 1}\n\n', b'data: {"a": 1}\r',
    b'\ndata: {"a": 1}\n\n\r\ndata: {"b": 2}\n\n',
]  # fmt: skip


def test_chunks_that_come_together_are_read_like_single_bytes() -> None:
    chance = random.Random(7)
    for _ in range(300):
        pieces = [PIECES[0], *chance.choices(PIECES, [60, *[1] * (len(PIECES) - 1)], k=6)]
        sent = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        packets = [head, *(sent[at : at + 40] for at in range(0, len(sent), 40))]
        slow: list[bytes] = []
        fast: list[bytes] = []
        cut: list[bytes] = []
        for found, parts in (
            (slow, [bytes((byte,)) for byte in head + sent]),
            (fast, [head, sent[:-5], sent[-5:]]),
            (cut, packets),
        ):
            parser = Parser(lambda _, event, found=found: found.append(event))
            assert [parser.feed(0.0, part) for part in parts][-1]
        assert fast == cut == slow, pieces

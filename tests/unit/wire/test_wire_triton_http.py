"""Triton over HTTP against a scripted server: each method, and each way it can go wrong."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from support.ports import refusing
from support.scripted_http import END, STREAM, Scripted, Step, answer, chunk, event, scripted
from trtbuild.wire.failures import (
    DeadlineError,
    DroppedError,
    MalformedError,
    RefusedError,
    TooLargeError,
    UnreachableError,
    WireError,
    retry_after,
)
from trtbuild.wire.records import IndexEntry, TensorSpec
from trtbuild.wire.tensors import InferRequest, TensorValue
from trtbuild.wire.triton_http import TritonHttp

Call = Callable[[TritonHttp], Awaitable[Any]]
Script = list[Step]


def run(call: Call, *scripts: Script, leave: int = 0, **options: Any) -> tuple[Any, Scripted]:
    """What a call returns, and what the server saw once so many clients have left it."""

    async def both() -> tuple[Any, Scripted]:
        async with scripted(*scripts) as server, TritonHttp(server.url, **options) as client:
            found = await call(client)
            await server.lost(leave)
            return found, server

    return asyncio.run(both())


def fails(call: Call, *scripts: Script, **options: Any) -> WireError:
    """The error of a call."""
    with pytest.raises(WireError) as caught:
        run(call, *scripts, **options)
    return caught.value


def say(value: Any) -> Script:
    return [answer(json.dumps(value).encode())]


async def stream(client: TritonHttp) -> list[dict[str, Any]]:
    return [found async for found in client.generate_stream("m", {"text_input": "hi"})]


async def metadata(client: TritonHttp) -> Any:
    return await client.metadata("m")


def test_metadata_of_a_model() -> None:
    model = {
        "name": "m", "versions": ["1"], "platform": "python",
        "inputs": [{"name": "a", "datatype": "FP32", "shape": [-1, 4]}], "outputs": [],
    }  # fmt: skip
    found, seen = run(metadata, say(model))
    assert found.inputs == (TensorSpec("a", "FP32", (-1, 4)),)
    assert (found.versions, found.platform) == (("1",), "python")
    assert seen.heads[0].startswith("GET /v2/models/m HTTP/1.1\r\n")


def test_a_name_cannot_leave_its_place_in_the_path() -> None:
    _, seen = run(lambda client: client.config("a/../b ?"), say({"name": "x"}))
    assert seen.heads[0].startswith("GET /v2/models/a%2F..%2Fb%20%3F/config ")


def test_health_and_repository() -> None:
    async def everything(client: TritonHttp) -> list[Any]:
        return [
            await client.live(),
            await client.ready("m"),
            await client.index(ready=True),
            await client.load("m", {"config": "{}"}),
            await client.unload("m", dependents=True),
        ]

    entry = {"name": "m", "version": "1", "state": "UNAVAILABLE", "reason": "no"}
    found, seen = run(
        everything, [answer(b"")], [answer(b"", 400)], say([entry, {"name": "n"}]), [answer(b"")],
        [answer(b"")],
    )  # fmt: skip
    entries = [IndexEntry("m", "1", "UNAVAILABLE", "no"), IndexEntry("n")]
    assert found == [True, False, entries, None, None]
    assert json.loads(seen.bodies[2]) == {"ready": True}
    assert json.loads(seen.bodies[3]) == {"parameters": {"config": "{}"}}
    assert json.loads(seen.bodies[4]) == {"parameters": {"unload_dependents": True}}
    assert seen.connections == 1


@pytest.mark.parametrize("binary", [True, False])
def test_infer(binary: bool) -> None:
    request = InferRequest((TensorValue("a", "INT32", (2,), [1, 2]),), id="7")
    rows = [{"name": "y", "datatype": "INT32", "shape": [1]}]
    if binary:
        rows[0]["parameters"] = {"binary_data_size": 4}
        head = json.dumps({"model_name": "m", "outputs": rows, "id": "7"}).encode()
        length = {"inference_header_content_length": str(len(head))}
        script = [answer(head + b"\x05\0\0\0", kind="application/octet-stream", **length)]
    else:
        script = say({"model_name": "m", "outputs": [{**rows[0], "data": [5]}], "id": "7"})
    found, seen = run(
        lambda client: client.infer("m", request, binary=binary, headers={"X-Id": "9"}), script
    )
    assert (list(found.outputs["y"].data), found.id) == ([5], "7")
    assert "\r\nX-Id: 9\r\n" in seen.heads[0]
    assert ("Inference-Header-Content-Length" in seen.heads[0]) is binary
    assert seen.heads[0].lower().count("content-type") == 1
    assert seen.bodies[0].endswith(b"\x01\0\0\0\x02\0\0\0") is binary


def test_generate_once_and_as_a_stream() -> None:
    found, seen = run(lambda client: client.generate("m", {"text_input": "東"}), say({"text": "x"}))
    assert found == {"text": "x"}
    assert json.loads(seen.bodies[0]) == {"text_input": "東"}
    script: Script = [STREAM, event('{"a": 1}'), 0.01, event('{"a": 2}'), END]
    found, seen = run(stream, script)
    assert found == [{"a": 1}, {"a": 2}]
    assert seen.heads[0].startswith("POST /v2/models/m/generate_stream HTTP/1.1\r\n")


def test_who_leaves_a_stream_closes_its_connection_and_others_go_on() -> None:
    async def leave(client: TritonHttp) -> Any:
        async with aclosing(client.generate_stream("m", {})) as found:
            first = await anext(found)
        return first, await client.generate("m", {})

    found, seen = run(leave, [STREAM, event('{"a": 1}'), "hold"], say({"b": 2}), leave=1)
    assert found == ({"a": 1}, {"b": 2})
    assert (seen.left, seen.connections) == (1, 2)


def test_a_cancelled_task_closes_its_connection() -> None:
    async def cancel(client: TritonHttp) -> None:
        arrived = asyncio.Event()

        async def read() -> None:
            async for _ in client.generate_stream("m", {}):
                arrived.set()

        task = asyncio.create_task(read())
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert run(cancel, [STREAM, event('{"a": 1}'), "hold"], leave=1)[1].left == 1


def test_a_deadline_ends_a_stream_and_an_answer() -> None:
    slow: Script = [STREAM, *[event('{"a": 1}'), 0.05] * 40, "hold"]
    assert "within 0.2 s" in str(fails(stream, slow, seconds=0.2))
    for call in (stream, metadata):
        assert isinstance(fails(call, ["hold"], seconds=0.1), DeadlineError)


def test_a_slow_body_is_waited_for() -> None:
    whole = answer(b'{"name": "m"}')
    assert run(metadata, [part for byte in whole for part in (bytes([byte]), 0.0)])[0].name == "m"


@pytest.mark.parametrize("last", ["close", "reset"])
@pytest.mark.parametrize("before", [[STREAM, event('{"a": 1}')], [STREAM, b"ff\r\ndata: {"]])
def test_a_cut_stream_is_dropped(before: Script, last: str) -> None:
    error = fails(stream, [*before, 0.02, last])
    assert isinstance(error, DroppedError) and error.answered


def test_events_before_a_cut_are_yielded() -> None:
    async def partly(client: TritonHttp) -> list[Any]:
        found = []
        with pytest.raises(DroppedError):
            async for value in client.generate_stream("m", {}):
                found.append(value)
        return found

    assert run(partly, [STREAM + event('{"a": 1}') + event('{"a": 2}'), "close"])[0] == [
        {"a": 1}, {"a": 2},
    ]  # fmt: skip


@pytest.mark.parametrize("streamed", [True, False])
def test_a_connection_that_went_stale_is_replaced_once(streamed: bool) -> None:
    """A server closes an idle connection at the moment it is used again."""

    async def twice(client: TritonHttp) -> Any:
        await client.live()
        return await (stream(client) if streamed else client.generate("m", {}))

    whole = [STREAM, event('{"a": 1}'), END] if streamed else say({"a": 1})
    found, seen = run(twice, [answer(b"")], ["close"], whole)
    assert found in ([{"a": 1}], {"a": 1})
    assert seen.connections == 2
    assert isinstance(fails(twice, [answer(b"")], ["close"], ["close"]), DroppedError)


@pytest.mark.parametrize("status", [429, 503])
def test_a_full_server_says_when_to_come_again(status: int) -> None:
    for call in (stream, metadata):
        error = fails(call, [answer(b'{"error": "busy"}', status, retry_after="7")])
        assert isinstance(error, RefusedError)
        assert (error.status, error.message, error.retry_after) == (status, "busy", 7.0)
        assert error.headers["retry-after"] == "7"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None), ({"retry-after": "soon"}, None), ({"retry-after": "-3"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0), ({"retry-after": "0"}, 0.0),
        ({"grpc-retry-pushback-ms": "1500"}, 1.5), ({"retry-after": "nan"}, None),
        ({"grpc-retry-pushback-ms": "9" * 5000}, math.inf), ({"retry-after": "9" * 400}, math.inf),
    ],
)  # fmt: skip
def test_when_to_come_again(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ([answer(b"<h1>no</h1>", 502, "text/html")], "<h1>no</h1>"),
        ([answer(b"", 500)], "HTTP status 500"),
        ([answer(b'data: {"error": "unknown model"}', 400)], "unknown model"),
        ([answer(b"moved", 302, location="https://other/")], "it sends requests on to https://other/"),
    ],
)  # fmt: skip
def test_other_refusals_have_words(script: Script, message: str) -> None:
    for call in (stream, metadata):
        assert str(fails(call, script)) == message


def test_an_error_inside_a_stream_is_refused() -> None:
    script: Script = [STREAM, event('{"a": 1}'), event('{"error": "engine is dead"}'), END]
    error = fails(stream, script)
    assert isinstance(error, RefusedError) and error.message == "engine is dead"


@pytest.mark.parametrize(
    "script",
    [
        [b"SSH-2.0-OpenSSH_9\r\n\r\n"], [answer(b"not json")], [answer(b"[1]")],
        [STREAM, b"zz\r\n"], [answer(b"[" * 100_000)], [STREAM, event("[1, 2]"), END],
    ],
    ids=range(6),
)  # fmt: skip
def test_garbage_is_named(script: Script) -> None:
    for call in (stream, metadata):
        assert isinstance(fails(call, [*script, "hold"], seconds=5), MalformedError)


def test_sizes_are_bounded() -> None:
    header = b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n"
    body = answer(b'{"name": "%s"}' % (b"m" * 3000))
    long_event = [STREAM, chunk(b"data: " + b"a" * 3000), "hold"]
    many_lines = [STREAM, *[chunk(b"data: %s\n" % (b"a" * 500))] * 8, "hold"]
    one_chunk = [STREAM, b"fffff\r\n", b"a" * 900_000, "hold"]
    cases: list[tuple[Script, Call]] = [
        ([header], metadata), ([body], metadata), (long_event, stream), (many_lines, stream),
        (one_chunk, stream),
    ]  # fmt: skip
    for script, call in cases:
        assert isinstance(fails(call, script, limit=2000, seconds=180), TooLargeError)


def test_a_large_body_comes_in_one_chunk_or_in_many() -> None:
    body = json.dumps({"name": "m" * 700_000}).encode()
    head = STREAM.replace(b"text/event-stream", b"application/json")
    for size in (len(body), 100_000, 1000):
        parts = [chunk(body[at : at + size]) for at in range(0, len(body), size)]
        assert len(run(metadata, [head, *parts, END])[0].name) == 700_000


def test_a_slow_reader_makes_the_server_wait_and_loses_nothing() -> None:
    async def slowly(client: TritonHttp) -> tuple[int, int]:
        total = most = 0
        async with aclosing(client.events("POST", "/x")) as events:
            async for _ in events:
                total += 1
                if total % 500 == 0:
                    await asyncio.sleep(0.001)
                    batch, stream = map(events.ag_frame.f_locals.get, ("batch", "stream"))
                    most = max(most, len(batch) + len(stream._events))
        return total, most

    (total, most), _ = run(slowly, [STREAM, *[event("x" * 500)] * 5000, END])
    assert total == 5000
    assert most < 2500  # two reads of a socket have about a thousand


def test_nobody_listens() -> None:
    with refusing() as port:

        async def ask() -> None:
            async with TritonHttp(f"127.0.0.1:{port}") as client:
                for call in (stream, metadata):
                    with pytest.raises(UnreachableError, match=r"refused|Connect call failed"):
                        await call(client)

        asyncio.run(ask())


def test_a_header_cannot_hold_another() -> None:
    with pytest.raises(ValueError, match="not an HTTP header"):
        TritonHttp("h:1", headers={"X": "a\r\nY: b"})


def test_a_proxy_is_asked_for_the_whole_url(monkeypatch: pytest.MonkeyPatch) -> None:
    async def through() -> Scripted:
        async with scripted(say({"name": "m"})) as proxy:
            monkeypatch.setenv("http_proxy", f"http://me:pass%20word@{proxy.url}")
            monkeypatch.delenv("no_proxy", raising=False)
            async with TritonHttp("triton.example:8000") as client:
                await client.metadata("m")
            monkeypatch.setenv("no_proxy", "triton.example")
            async with TritonHttp("triton.example:8000") as direct:
                assert direct._pool.host == "triton.example"
            return proxy

    head = asyncio.run(through()).heads[0]
    assert head.startswith("GET http://triton.example:8000/v2/models/m HTTP/1.1\r\n")
    assert "\r\nProxy-Authorization: Basic bWU6cGFzcyB3b3Jk\r\n" in head

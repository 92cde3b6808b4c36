"""Triton over gRPC against a scripted server: each method, and each way it can go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from support.grpc_triton import Seen, Status, official, response, serving
from support.ports import refusing
from support.scripted_http import answer, scripted
from trtbuild.wire.failures import (
    DeadlineError,
    DroppedError,
    MalformedError,
    RefusedError,
    TooLargeError,
    UnreachableError,
    WireError,
)
from trtbuild.wire.records import IndexEntry, TensorSpec
from trtbuild.wire.tensors import InferRequest, TensorError, TensorValue
from trtbuild.wire.triton_grpc import TritonGrpc

Call = Callable[[TritonGrpc], Awaitable[Any]]
Script = Mapping[str, Sequence[Any]]
REQUEST = InferRequest((TensorValue("text", "BYTES", (1,), ["hi"]),), {"priority": 2}, id="7")


def run(call: Call, script: Script, **options: Any) -> tuple[Any, Seen]:
    """What a call returns, and what the server saw."""

    async def both() -> tuple[Any, Seen]:
        async with serving(script) as server, TritonGrpc(server.url, **options) as client:
            return await call(client), server

    return asyncio.run(both())


def fails(call: Call, script: Script, **options: Any) -> WireError:
    """The error of a call."""
    with pytest.raises(WireError) as caught:
        run(call, script, **options)
    return caught.value


async def stream(client: TritonGrpc) -> list[list[str]]:
    return [
        found.outputs["y"].texts
        async for found in client.stream_infer("m", REQUEST)
        if found.outputs
    ]


async def eventually(found: Callable[[], bool]) -> None:
    async with asyncio.timeout(180):
        while not found():
            await asyncio.sleep(0.01)


async def metadata(client: TritonGrpc) -> Any:
    return await client.metadata("m")


def test_metadata_and_configuration() -> None:
    model = official.ModelMetadataResponse(name="m", versions=["1"], platform="python")
    model.inputs.add(name="a", datatype="FP32", shape=[-1, 4])
    found, seen = run(metadata, {"ModelMetadata": [model]}, headers={"X-Key": "k"})
    assert found.inputs == (TensorSpec("a", "FP32", (-1, 4)),)
    assert (found.versions, found.platform) == (("1",), "python")
    assert seen.metadata[0]["x-key"] == "k"
    config = official.ModelConfigResponse(config={"name": "m", "max_batch_size": 2**31 - 1})
    config.config.input.add(name="a", data_type="TYPE_FP32", dims=[2**40])
    config.config.parameters["k"].string_value = "v"
    found, _ = run(lambda client: client.config("m"), {"ModelConfig": [config]})
    assert found["input"][0]["dims"] == [2**40]
    assert found["input"][0]["data_type"] == "TYPE_FP32"
    assert found["parameters"] == {"k": {"string_value": "v"}}
    assert "dynamic_batching" not in found and found["instance_group"] == []


def test_health_and_repository() -> None:
    async def everything(client: TritonGrpc) -> list[Any]:
        return [
            await client.live(),
            await client.ready(),
            await client.ready("m"),
            await client.index(ready=True),
            await client.load("m", {"config": "{}", "file:1/model.py": b"x"}),
            await client.unload("m", dependents=True),
        ]

    index = official.RepositoryIndexResponse()
    index.models.add(name="m", version="1", state="UNAVAILABLE", reason="no")
    found, seen = run(
        everything,
        {
            "ServerLive": [official.ServerLiveResponse(live=True)],
            "ServerReady": [official.ServerReadyResponse(ready=True)],
            "ModelReady": [Status("NOT_FOUND", "unknown model")],
            "RepositoryIndex": [index],
            "RepositoryModelLoad": [official.RepositoryModelLoadResponse()],
            "RepositoryModelUnload": [official.RepositoryModelUnloadResponse()],
        },
    )
    entries = [IndexEntry("m", "1", "UNAVAILABLE", "no")]
    assert found == [True, True, False, entries, None, None]
    load = seen.requests["RepositoryModelLoad"][0].parameters
    assert load["config"].string_param == "{}" and load["file:1/model.py"].bytes_param == b"x"
    assert seen.requests["RepositoryIndex"][0].ready
    assert seen.requests["RepositoryModelUnload"][0].parameters["unload_dependents"].bool_param


def test_infer_once_and_as_a_stream() -> None:
    one = response(y=["a", "東"]).infer_response
    found, seen = run(lambda client: client.infer("m", REQUEST), {"ModelInfer": [one]})
    assert found.outputs["y"].texts == ["a", "東"]
    sent = seen.requests["ModelInfer"][0]
    assert (sent.model_name, sent.model_version, sent.id) == ("m", "", "7")
    assert sent.parameters["priority"].int64_param == 2
    steps = [response(y=["a"]), 0.01, response(y=["b"]), response(final=True)]
    assert run(stream, {"ModelStreamInfer": steps})[0] == [["a"], ["b"]]


def test_who_leaves_a_stream_cancels_it() -> None:
    async def leave(client: TritonGrpc, server: Seen) -> None:
        async with aclosing(client.stream_infer("m", REQUEST)) as found:
            await anext(found)
            await eventually(lambda: server.held == 1)

    async def cancel(client: TritonGrpc, server: Seen) -> None:
        task = asyncio.create_task(stream(client))
        await eventually(lambda: server.held == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def left(call: Callable[[TritonGrpc, Seen], Awaitable[None]]) -> None:
        script: Script = {"ModelStreamInfer": [response(y=["a"]), "hold"]}
        async with serving(script) as server, TritonGrpc(server.url) as client:
            await call(client, server)
            await eventually(lambda: server.left == 1)

    for call in (leave, cancel):
        asyncio.run(left(call))


def test_a_deadline_ends_a_stream_and_an_answer() -> None:
    script: Script = {"ModelStreamInfer": [response(y=["a"]), "hold"], "ModelMetadata": ["hold"]}
    for call in (stream, metadata):
        error = fails(call, script, seconds=0.2)
        assert isinstance(error, DeadlineError) and "within 0.2 s" in str(error)


@pytest.mark.parametrize(
    ("code", "status"), [("RESOURCE_EXHAUSTED", 429), ("UNAVAILABLE", 503), ("NOT_FOUND", 404)]
)
def test_a_refusal_has_status_words_and_when_to_come_again(code: str, status: int) -> None:
    told = Status(code, "the queue is full", [("retry-after", "7")])
    for call in (stream, metadata):
        error = fails(call, {"ModelStreamInfer": [told], "ModelMetadata": [told]})
        assert isinstance(error, RefusedError)
        assert (error.status, error.code, error.message) == (status, code, "the queue is full")
        assert error.retry_after == 7


def test_a_method_that_is_absent_and_an_error_inside_a_stream() -> None:
    error = fails(metadata, {})
    assert isinstance(error, RefusedError) and error.code == "UNIMPLEMENTED"
    failed = official.ModelStreamInferResponse(error_message="engine is dead")
    error = fails(stream, {"ModelStreamInfer": [response(y=["a"]), failed]})
    assert isinstance(error, RefusedError) and error.message == "engine is dead"


@pytest.mark.parametrize(("after", "left"), [(0.2, 0), ("hold", 1)])
def test_a_stream_that_failed_is_ended_by_the_server(
    after: Any, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trtbuild.wire.triton_grpc._END_SECONDS", 0.5 if left else 30)
    failed = official.ModelStreamInferResponse(error_message="engine is dead")

    async def refused() -> int:
        script: Script = {"ModelStreamInfer": [failed, after]}
        async with serving(script) as server, TritonGrpc(server.url) as client:
            with pytest.raises(RefusedError, match="engine is dead"):
                await stream(client)
            await eventually(lambda: server.left == left)
        return server.left

    assert asyncio.run(refused()) == left


def test_garbage_in_a_message_is_named() -> None:
    for call, script in (
        (metadata, {"ModelMetadata": [b"\xff\xff\xff"]}),
        (stream, {"ModelStreamInfer": [b"\xff\xff\xff"]}),
    ):
        assert isinstance(fails(call, script), MalformedError)


def test_a_message_is_bounded() -> None:
    large = official.ModelMetadataResponse(name="m" * 5000)
    for call, script in (
        (metadata, {"ModelMetadata": [large]}),
        (stream, {"ModelStreamInfer": [response(y=["a" * 5000])]}),
    ):
        assert isinstance(fails(call, script, limit=2000), TooLargeError)


def test_data_that_does_not_fit_is_refused_before_it_is_sent() -> None:
    wrong = InferRequest((TensorValue("a", "INT32", (2,), [1]),))
    with pytest.raises(TensorError, match="'a'"):
        run(lambda client: client.infer("m", wrong), {})


def test_a_server_that_goes_drops_the_stream() -> None:
    async def die() -> None:
        async with serving({"ModelStreamInfer": [response(y=["a"]), "hold"]}) as server:
            client = TritonGrpc(server.url)
            found = client.stream_infer("m", REQUEST)
            await anext(found)
        with pytest.raises((DroppedError, RefusedError)) as caught:
            await anext(found)
        if isinstance(caught.value, RefusedError):  # it went in order, and said so
            assert caught.value.code in ("CANCELLED", "UNAVAILABLE")
        await client.close()

    asyncio.run(die())


def test_a_server_may_take_its_time_to_accept_a_connection() -> None:
    async def late(port: int) -> bool:
        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(1 << 16):
                writer.write(data)
            writer.close()

        async def held(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0.6)  # as a server that is busy with other requests
            inward, outward = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(relay(reader, outward), relay(inward, writer))

        async with await asyncio.start_server(held, "127.0.0.1", 0) as proxy:
            url = f"127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
            async with TritonGrpc(url, seconds=180) as client:
                return await client.live()

    async def both() -> bool:
        async with serving({"ServerLive": [official.ServerLiveResponse(live=True)]}) as server:
            return await late(server.port)

    assert asyncio.run(both())


def test_nobody_listens_or_somebody_who_speaks_http1() -> None:
    async def ask(url: str) -> list[type[Exception]]:
        found: list[type[Exception]] = []
        async with TritonGrpc(url, seconds=5) as client:
            for call in (stream, metadata):
                try:
                    await call(client)
                except WireError as error:
                    found.append(type(error))
        return found

    async def http1() -> list[type[Exception]]:
        async with scripted([answer(b"no", 400)]) as server:
            return await ask(server.url)

    with refusing() as port:
        assert asyncio.run(ask(f"127.0.0.1:{port}")) == [UnreachableError] * 2
    for kind in asyncio.run(http1()):
        assert kind in (MalformedError, UnreachableError, DroppedError)

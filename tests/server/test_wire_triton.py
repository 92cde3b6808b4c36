"""Both clients of ``trtbuild.wire`` against a real Triton: the same calls, the same results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from support import triton
from trtbuild.wire.failures import DeadlineError, RefusedError
from trtbuild.wire.tensors import InferRequest, TensorValue
from trtbuild.wire.triton_grpc import TritonGrpc
from trtbuild.wire.triton_http import TritonHttp

pytestmark = pytest.mark.server

Client = TritonGrpc | TritonHttp
MODEL = Path(triton.__file__).with_name("wire_model.py")
INPUTS = (("TEXT", "STRING"), ("VECTOR", "FP32"), ("COUNT", "INT32"), ("WAIT_MS", "INT32"))
ENDLESS = (200_000, 5)
"""Responses, and milliseconds between them: a quarter of an hour, longer than a test may take."""
OUTPUTS = (("TEXT_OUT", "STRING"), ("VECTOR_OUT", "FP32"), ("STEP", "INT32"), ("LEFT", "INT32"))
REQUEST = InferRequest(
    (
        TensorValue("TEXT", "BYTES", (2,), ["東京", b"\xff"]),
        TensorValue("VECTOR", "FP32", (3,), [0.5, -1.0, 1e10]),
    ),
    id="r-7",
)


def config(*, decoupled: bool) -> str:
    lines = ['backend: "python"', "instance_group [ { count: 1 kind: KIND_CPU } ]"]
    if decoupled:
        lines.append("model_transaction_policy { decoupled: true }")
    for kind, rows in (("input", INPUTS), ("output", OUTPUTS)):
        optional = " optional: true" if kind == "input" else ""
        for name, datatype in rows:
            lines.append(
                f'{kind} {{ name: "{name}" data_type: TYPE_{datatype} dims: [-1]{optional} }}'
            )
    return "\n".join(lines)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[triton.Triton]:
    work = tmp_path_factory.mktemp("wire")
    for name in ("echo", "count"):
        version = work / "repository" / name / "1"
        version.mkdir(parents=True)
        (version / "model.py").write_bytes(MODEL.read_bytes())
        (version.parent / "config.pbtxt").write_text(config(decoupled=name == "count"))
    with triton.serving(work / "repository", work) as found:
        yield found


@pytest.fixture(params=["grpc", "http"])
def client(server: triton.Triton, request: pytest.FixtureRequest) -> Client:
    grpc = request.param == "grpc"
    return TritonGrpc(server.grpc) if grpc else TritonHttp(server.http)


def test_what_a_server_says_of_its_models(client: Client) -> None:
    async def look() -> None:
        async with client:
            assert await client.live() and await client.ready() and await client.ready("echo")
            assert not await client.ready("absent")
            metadata = await client.metadata("echo")
            assert [(one.name, one.shape) for one in metadata.inputs] == [
                (name, (-1,)) for name, _ in INPUTS
            ]
            assert (metadata.versions, metadata.platform) == (("1",), "python")
            found = await client.config("count")
            assert found["model_transaction_policy"]["decoupled"] is True
            assert found["max_batch_size"] == 0
            assert [int(size) for size in found["input"][0]["dims"]] == [-1]
            assert {one.name: one.state for one in await client.index()} == {
                "echo": "READY", "count": "READY",
            }  # fmt: skip
            with pytest.raises(RefusedError, match="absent"):
                await client.metadata("absent")

    asyncio.run(look())


def test_one_inference(client: Client) -> None:
    async def ask() -> None:
        async with client:
            found = await client.infer("echo", REQUEST)
            assert found.id == "r-7" and found.model == "echo"
            assert found.outputs["TEXT_OUT"].data == ["東京".encode(), b"\xff"]
            assert list(found.outputs["VECTOR_OUT"].data) == [0.5, -1.0, 1e10]
            some = InferRequest(REQUEST.inputs, outputs=("STEP",))
            assert [*(await client.infer("echo", some)).outputs] == ["STEP"]
            refused = InferRequest((TensorValue("TEXT", "BYTES", (1,), ["refuse"]),))
            with pytest.raises(RefusedError, match="refused on purpose"):
                await client.infer("echo", refused)

    asyncio.run(ask())


def test_json_in_place_of_bytes(server: triton.Triton) -> None:
    async def ask() -> list[Any]:
        async with TritonHttp(server.http) as http:
            asked = InferRequest((TensorValue("TEXT", "BYTES", (1,), ["東京"]),))
            return (await http.infer("echo", asked, binary=False)).outputs["TEXT_OUT"].texts

    assert asyncio.run(ask()) == ["東京"]


async def steps(
    client: Client, count: int, wait_ms: int = 1, seconds: float = 180
) -> AsyncGenerator[tuple[int, int], None]:
    """Number of the response, and how many clients had left before, over either protocol."""
    if isinstance(client, TritonHttp):
        asked = {"COUNT": count, "WAIT_MS": wait_ms}
        async with aclosing(client.generate_stream("count", asked, seconds=seconds)) as found:
            async for one in found:
                yield one["STEP"], one["LEFT"]
        return
    request = InferRequest(
        (
            TensorValue("COUNT", "INT32", (1,), [count]),
            TensorValue("WAIT_MS", "INT32", (1,), [wait_ms]),
        )
    )
    async with aclosing(client.stream_infer("count", request, seconds=seconds)) as responses:
        async for response in responses:
            if response.outputs:
                yield response.outputs["STEP"].data[0], response.outputs["LEFT"].data[0]


async def left(client: Client) -> int:
    """How many clients had left, as the model has seen it."""
    (gone,) = [gone async for _, gone in steps(client, 1)]
    return gone


def test_a_stream_comes_whole_and_who_leaves_it_cancels_it(client: Client) -> None:
    async def ask() -> None:
        async with client:
            assert [step async for step, _ in steps(client, 300, 0)] == list(range(300))
            before = await left(client)
            async with aclosing(steps(client, *ENDLESS)) as found:
                async for step, _ in found:
                    if step == 5:
                        break
            # The model answers one request at a time: this one waits for the end of the other.
            assert await left(client) == before + 1

    asyncio.run(ask())


def test_a_deadline_cancels_on_the_server(client: Client) -> None:
    async def ask() -> None:
        async with client:
            seen, seconds = 0, 0.15
            while not seen:  # the deadline must come in the middle of an answer
                before, seconds = await left(client), 2 * seconds
                with pytest.raises(DeadlineError):
                    async for _ in steps(client, *ENDLESS, seconds=seconds):
                        seen += 1
            assert await left(client) == before + 1

    asyncio.run(ask())


def test_a_model_is_unloaded_and_loaded(client: Client) -> None:
    async def control() -> None:
        async with client:
            await client.unload("echo")
            async with asyncio.timeout(180):
                while await client.ready("echo"):
                    await asyncio.sleep(0.05)
            with pytest.raises(RefusedError):
                await client.infer("echo", REQUEST)
            await client.load("echo")
            assert await client.ready("echo")
            with pytest.raises(RefusedError, match="failed to load"):
                await client.load("absent")

    asyncio.run(control())

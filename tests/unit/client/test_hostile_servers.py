"""A server whose answers are not what the protocol says: an error with a fix, never a bug."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from support.scripted_http import answer, scripted
from trtbuild.client import AsyncLLMClient, LLMClient
from trtbuild.errors import ExitCode, ServerError, TrtbuildError, UsageError
from trtbuild.signature.dialects.base import count, text

METADATA = {
    "name": "m",
    "inputs": [
        {"name": name, "datatype": "BYTES", "shape": [1]}
        for name in ("text_input", "sampling_parameters")
    ],
    "outputs": [{"name": "text_output", "datatype": "BYTES", "shape": [-1]}],
}


@pytest.mark.parametrize(
    "config",
    [
        {"model_transaction_policy": None},
        {"model_transaction_policy": "x"},
        {"max_batch_size": "many"},
        {"input": 5},
        {"max_batch_size": None},
    ],
)
def test_a_configuration_that_is_none(config: dict[str, Any]) -> None:
    async def ask() -> TrtbuildError:
        replies = [answer(json.dumps(value).encode()) for value in (METADATA, config)]
        async with (
            scripted(*([reply] for reply in replies)) as server,
            AsyncLLMClient(server.url, "http") as client,
        ):
            with pytest.raises(ServerError) as error:
                await client.describe("m")
        return error.value

    error = asyncio.run(ask())
    assert "not a model's configuration" in error.where
    assert error.fix


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("url", ["http://[::1", "[::1"])
def test_an_address_that_is_none(url: str, protocol: Any) -> None:
    with pytest.raises(UsageError, match="is not the address of a server") as error:
        LLMClient(url, protocol)
    assert "HOST:PORT" in error.value.fix


@pytest.mark.parametrize("url", ["127.0.0.1:99999", "127.0.0.1:x", f"{'a' * 64}.example:8000"])
def test_a_name_or_a_port_that_is_none(url: str) -> None:
    with pytest.raises(UsageError, match="is not the address of a server"):
        LLMClient(url, "http")


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_name_that_is_not_utf8(protocol: Any) -> None:
    with (
        LLMClient("127.0.0.1:1", protocol) as client,
        pytest.raises(UsageError, match="is not valid text") as error,
    ):
        client.answer("\udcff", "hi")
    assert error.value.exit_code == ExitCode.USAGE
    assert error.value.fix


def test_a_short_deadline_holds_for_the_metadata_too() -> None:
    async def ask() -> None:
        async with scripted(["hold"]) as server, AsyncLLMClient(server.url, "http") as client:
            with pytest.raises(ServerError, match=r"within 0\.2 s"):
                async for _ in client.generate("m", "hi", timeout=0.2):
                    pass

    asyncio.run(ask())


@pytest.mark.parametrize("events", [b"", b'data: {"other": 1}\n\n'])
def test_an_answer_without_text_is_none(events: bytes) -> None:
    replies = [answer(json.dumps(value).encode()) for value in (METADATA, {})]
    stream = answer(events, kind="text/event-stream")

    async def ask() -> None:
        async with (
            scripted(*([reply] for reply in (*replies, stream))) as server,
            AsyncLLMClient(server.url, "http") as client,
        ):
            async for _ in client.generate("m", "hi"):
                pass

    with pytest.raises(ServerError, match="ended early") as error:
        asyncio.run(ask())
    assert "no response had text_output" in error.value.where


@pytest.mark.parametrize("element", ["many", float("nan"), float("inf"), [1], None, ""])
def test_a_count_that_is_none(element: object) -> None:
    assert count(element) is None


def test_half_a_surrogate_pair_can_be_printed() -> None:
    assert text("a\ud800b") == "a?b"
    assert text("東".encode()) == "東"

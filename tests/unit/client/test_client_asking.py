"""Requests of several parts: together, in order, and none left when one fails."""

from __future__ import annotations

import asyncio

import pytest

from trtbuild.client import LLMClient
from trtbuild.client.llm import AsyncLLMClient
from trtbuild.client.transport import Transport
from trtbuild.errors import ServerError
from trtbuild.signature import ServedModel, ServedTask, Tensor
from trtbuild.signature.requests import EmbedAnswer, EmbedRequest
from trtbuild.wire.tensors import InferRequest, Outputs, TensorValue

MODEL = ServedModel(
    "m", ServedTask.EMBED, "embed", (Tensor("text", "STRING", (1,)),), max_batch_size=1
)


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Requests under way, noted as each begins; a text of digits is answered with its number."""
    seen: list[int] = []
    under_way = 0

    async def infer(
        _self: object, _model: str, request: InferRequest, _timeout: float, **_: object
    ) -> Outputs:
        nonlocal under_way
        (text,) = request.inputs[0].data
        under_way += 1
        seen.append(under_way)
        try:
            await asyncio.sleep(0.001 * (10 - int(text) % 10))
            if text == "13":
                raise ServerError("refused")
        finally:
            under_way -= 1
        return {"embeddings": TensorValue("embeddings", "FP32", (1, 1), [int(text)])}

    async def served(_self: object, _model: str, _timeout: float) -> ServedModel:
        return MODEL

    monkeypatch.setattr(Transport, "infer", infer)
    monkeypatch.setattr(AsyncLLMClient, "served", served)
    return seen


def test_parts_are_under_way_together_and_answered_in_order(running: list[int]) -> None:
    with LLMClient("127.0.0.1:1", "http") as client:
        answer = client.ask("m", EmbedRequest(tuple(map(str, range(20, 60)))))
    assert answer == EmbedAnswer(tuple((float(n),) for n in range(20, 60)))
    assert max(running) == 16


def test_one_error_ends_the_others(running: list[int]) -> None:
    with LLMClient("127.0.0.1:1", "http") as client, pytest.raises(ServerError, match="refused"):
        client.ask("m", EmbedRequest(("13", *map(str, range(20, 80)))))
    assert len(running) < 61

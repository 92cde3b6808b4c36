"""A failed call is found in the target's log by its request id and its trace."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from support.batch_server import batch_server
from support.deployments import deployable
from trtbuild.client import AsyncLLMClient
from trtbuild.client.failures import NoAnswerError
from trtbuild.client.transport import Transport
from trtbuild.repository import served_model
from trtbuild.signature import ServedModel
from trtbuild.signature.requests import EmbedRequest, GenerateRequest, RerankRequest
from trtbuild.wire.tensors import InferRequest
from trtbuild_batch.asking import Call, Question
from trtbuild_batch.engine import CallError
from trtbuild_batch.targets.openai import OpenAITarget
from trtbuild_batch.targets.triton import TritonTarget
from trtbuild_batch.worker.model import Message
from trtbuild_batch.worker.requests import call_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize("sent", [{}, {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}])
def test_a_failed_call_is_logged_with_the_ids_that_the_target_got(
    sent: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRTBUILD_LOG_FORMAT", "json")

    async def run(url: str) -> None:
        target = OpenAITarget(url, "m", timeout=60)
        body = {"model": "m", "prompt": "x"}
        with pytest.raises(CallError):
            await target.ask(Call("/completions", body, sent))
        await target.close()

    with batch_server() as server:
        server.decide = lambda _text, _times: 500
        asyncio.run(run(server.url))
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    (head,) = server.heads
    (request,) = re.findall(r"(?im)^x-request-id: (\S+)\r$", head)
    (trace, flags) = re.findall(r"(?im)^traceparent: 00-(\w{32})-\w{16}-(\d\d)\r$", head)[0]
    assert (line["level"], line["kind"], line["logger"]) == (
        "warning",
        "server_error",
        "trtbuild.batch",
    )
    assert (line["request_id"], line["trace_id"]) == (request, trace)
    assert (trace, flags) == (TRACE, "01") if sent else flags == "00"


@pytest.mark.parametrize(
    ("case", "question", "sending"),
    [
        (("vllm", "plain"), GenerateRequest("x"), "responses"),
        (("onnx", "embed"), EmbedRequest(("x",)), "infer"),
        (("onnx", "rerank"), RerankRequest("x", ("y",)), "infer"),
    ],
)
def test_triton_gets_the_request_id_of_the_log(
    case: tuple[str, str],
    question: Question,
    sending: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And no trace: Triton records spans of unsampled ones, too."""
    monkeypatch.setenv("TRTBUILD_LOG_FORMAT", "json")
    served = served_model(deployable(tmp_path, *case), "llama")
    assert served is not None
    sent: list[str] = []

    async def described(*_: object) -> ServedModel:
        return served

    def gone(_: Transport, model: str, request: InferRequest, *__: Any, **___: Any) -> Any:
        sent.append(request.id)
        raise NoAnswerError("gone")

    monkeypatch.setattr(AsyncLLMClient, "served", described)
    monkeypatch.setattr(Transport, sending, gone)

    async def run() -> None:
        target = TritonTarget("127.0.0.1:1", "llama", "grpc", timeout=60)
        with pytest.raises(CallError, match="gone"):
            await target.ask(question)
        await target.close()

    asyncio.run(run())
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert line["request_id"] and [line["request_id"]] == sent
    assert "trace_id" not in line


def test_a_message_is_asked_about_by_its_own_id() -> None:
    body = b'{"prompt": "x"}'
    assert call_of(Message("17-0", body, {}), "m", "", 99).headers == {"x-request-id": "17-0"}
    named = Message("17-0", body, {"x-request-id": "r7"})
    assert call_of(named, "m", "", 99).headers == {"x-request-id": "r7"}

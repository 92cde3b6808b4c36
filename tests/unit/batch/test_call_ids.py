"""A failed call is found in the target's log by its request id and its trace."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from support.batch_server import batch_server
from trtbuild_batch.asking import Call
from trtbuild_batch.engine import CallError
from trtbuild_batch.targets.openai import OpenAITarget
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


def test_a_message_is_asked_about_by_its_own_id() -> None:
    body = b'{"prompt": "x"}'
    assert call_of(Message("17-0", body, {}), "m", "", 99).headers == {"x-request-id": "17-0"}
    named = Message("17-0", body, {"x-request-id": "r7"})
    assert call_of(named, "m", "", 99).headers == {"x-request-id": "r7"}

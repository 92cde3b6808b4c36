"""The log, and what the server is told of a request's trace."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.fake_triton import FakeTriton, fake_triton, said, words
from support.gateways import Served, http_client, in_front, run_as_served, tokenizer
from support.scripted_http import STREAM
from trtbuild_gateway.telemetry.traceparent import read_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = (f"00-{TRACE}-{SPAN}-{flags}" for flags in ("01", "00"))
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "secret words"}]}


@contextlib.asynccontextmanager
async def gateway(folder: Path, **settings: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Path]]:
    """A gateway's process, and the file of its standard error."""
    (folder / "gateway.yaml").write_text(json.dumps({"port": 0, **settings}))
    command = [sys.executable, "-m", "trtbuild", "gateway", "-f", str(folder / "gateway.yaml")]
    log = folder / "log"
    with (
        log.open("w") as written,
        subprocess.Popen(command, stderr=written, stdin=subprocess.DEVNULL) as process,
    ):
        try:
            async with asyncio.timeout(60):
                while (said := re.search(r"(http\S+)/v1", log.read_text())) is None:
                    await asyncio.sleep(0.01)
                async with http_client(said[1]) as client:
                    while True:
                        with contextlib.suppress(httpx.ConnectError):
                            await client.get("/health/live")
                            break
                        await asyncio.sleep(0.01)
                    yield client, log
        finally:
            process.kill()


async def objects(log: Path, endpoint: str, count: int) -> list[dict[str, Any]]:
    """The lines about requests of an endpoint, once there are as many."""
    async with asyncio.timeout(180):
        while True:
            lines = [json.loads(line) for line in log.read_text().splitlines() if line[:1] == "{"]
            found = [line for line in lines if line.get("endpoint") == endpoint]
            if len(found) >= count:
                return [line for line in lines if line["logger"] == "trtbuild.gateway"]
            await asyncio.sleep(0.01)


def test_a_json_log_has_a_line_for_each_request_and_no_text_of_it(tmp_path: Path) -> None:
    async def run() -> None:
        broken = [STREAM, said("a"), "reset"]
        async with fake_triton(m=words("He", "llo"), broken=broken) as triton:
            models = {name: {"tokenizer": str(tokenizer())} for name in ("m", "broken")}
            given = {"url": triton.url, "models": models, "log_format": "json", "log_level": "info"}
            async with gateway(tmp_path, **given) as (client, log):
                path = "/v1/chat/completions"
                headers = {"x-request-id": "one", "traceparent": SAMPLED}
                await client.post(path, json={**CHAT, "stream": True}, headers=headers)
                broken_chat = {**CHAT, "model": "broken", "stream": True}
                await client.post(path, json=broken_chat, headers={"x-request-id": "two"})
                await client.post(path, json={**CHAT, "model": "none"}, headers=headers)
                await client.get("/health/ready")
                lines = await objects(log, path, 3)
                assert "secret" not in log.read_text()
                assert {line[:1] for line in log.read_text().splitlines()} == {"{"}
        good, warning, bad, unknown = lines
        assert good["time"].endswith("+00:00")
        assert good["duration_ms"] >= good["first_token_ms"] > 0
        expected = {
            "level": "info", "request_id": "one", "trace_id": TRACE, "endpoint": path,
            "status": 200, "model": "m", "completion_tokens": 2,
        }  # fmt: skip
        assert good == good | expected
        assert good["prompt_tokens"] > 0
        assert "error" not in good
        assert (warning["level"], warning["request_id"]) == ("warning", "two")
        assert (bad["request_id"], bad["status"], bad["error"]) == ("two", 200, "upstream_error")
        assert "trace_id" not in bad
        assert (unknown["status"], unknown["error"]) == (404, "model_not_found")
        assert "model" not in unknown

    run_as_served(run())


def test_only_a_sampled_trace_is_passed_on() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        for given, passed in (
            (SAMPLED, True),
            (UNSAMPLED, False),
            ("00-" + "0" * 32 + f"-{SPAN}-01", False),
            ("", False),
        ):
            headers = {"traceparent": given, "tracestate": "vendor=1"}
            await served.client.post("/v1/chat/completions", json=CHAT, headers=headers)
            head = [one for one in triton.heads if "/generate" in one][-1].lower()
            assert (f"traceparent: {given}" in head and "tracestate: vendor=1" in head) == passed
            assert ("traceparent" in head) == passed == ("tracestate" in head)

    in_front(test)


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        (SAMPLED, True),
        (SAMPLED + "-more", False),
        ("01" + SAMPLED[2:] + "-more", True),
        ("ff" + SAMPLED[2:], False),
        (SAMPLED.upper(), False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (SAMPLED + "\n", False),
    ],
)
def test_an_invalid_traceparent_counts_as_missing(value: str, valid: bool) -> None:
    found = read_traceparent(value)
    assert (found is not None) == valid
    if found is not None:
        assert (found.trace_id, found.span_id, found.sampled) == (TRACE, SPAN, True)

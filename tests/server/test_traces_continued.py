"""A real Triton continues the traces of the gateway, and only those that are sampled."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from support import triton
from support.collectors import Collector, collecting
from support.gateways import run_as_served, serving
from support.live_models import write_llm

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
BODY = {"model": "m", "prompt": "x", "max_tokens": 3, "stream": True}


def roots(collector: Collector) -> list[tuple[str, str]]:
    """Trace and parent of each request that Triton recorded."""
    scopes: list[Any] = [
        scope
        for one in collector.objects
        for resource in one["resourceSpans"]
        for scope in resource["scopeSpans"]
    ]
    spans = [span for scope in scopes for span in scope["spans"]]
    return [
        (span["traceId"], span.get("parentSpanId", ""))
        for span in spans
        if span["name"] == "InferRequest"
    ]


@pytest.mark.nightly
def test_triton_continues_sampled_traces_and_records_no_others(tmp_path: Path) -> None:
    write_llm(tmp_path / "repository", "m")
    with collecting() as collector:
        options = (
            "mode=opentelemetry",
            "level=TIMESTAMPS",
            "rate=0",
            f"opentelemetry,url={collector.url}",
            "opentelemetry,bsp_schedule_delay=100",
        )
        arguments = [f"--trace-config={option}" for option in options]
        with triton.serving(tmp_path / "repository", tmp_path, *arguments) as server:

            async def run() -> None:
                traces = {"endpoint": collector.url}
                async with serving(server.http, traces=traces) as served:
                    for flags in ("00", "01"):
                        headers = {"traceparent": f"00-{TRACE}-{SPAN}-{flags}"}
                        answer = await served.client.post(
                            "/v1/completions", json=BODY, headers=headers
                        )
                        assert answer.status_code == 200
                    assert (await served.post("/v1/completions", **BODY)).status_code == 200

            async def arrived() -> None:
                async with asyncio.timeout(30):
                    while len(roots(collector)) < 2:
                        await asyncio.sleep(0.01)

            run_as_served(run())
            asyncio.run(arrived())
        asked = [span for span in collector.spans if span.name == "text_completion m"]
        expected = [(span.trace_id.hex(), span.span_id.hex()) for span in asked]
        assert sorted(roots(collector)) == sorted(expected)
        assert expected[0][0] == TRACE

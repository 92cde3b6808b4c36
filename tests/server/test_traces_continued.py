"""A real Triton and its engine continue the gateway's traces, and only those that are sampled."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from support import triton
from support.collectors import Collector, collecting
from support.gateways import run_as_served, serving

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
BODY = {"model": "smollm2", "prompt": "x", "max_tokens": 3, "stream": True}


def named(collector: Collector, name: str) -> list[Span]:
    """The spans of the gateway or the engine with that name."""
    return [span for span in collector.spans if span.name == name]


def of_triton(collector: Collector, name: str) -> list[dict[str, Any]]:
    """Triton's spans with that name."""
    scopes: list[Any] = [
        scope
        for one in collector.objects
        for resource in one["resourceSpans"]
        for scope in resource["scopeSpans"]
    ]
    return [span for scope in scopes for span in scope["spans"] if span["name"] == name]


def roots(collector: Collector) -> list[tuple[str, str]]:
    """Trace and parent of each request that Triton recorded."""
    found = of_triton(collector, "InferRequest")
    return [(span["traceId"], span.get("parentSpanId", "")) for span in found]


@pytest.mark.nightly
def test_sampled_traces_reach_the_engine_and_no_others(
    smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")
    with collecting() as collector:
        engine = {"max_model_len": 512, "otlp_traces_endpoint": collector.url}
        triton.write_model(tmp_path / "repository", "smollm2", smollm2, engine)
        options = (
            "mode=opentelemetry",
            "level=TIMESTAMPS",
            "rate=0",
            f"opentelemetry,url={collector.url}",
            "opentelemetry,bsp_schedule_delay=100",
        )
        arguments = [f"--trace-config={option}" for option in options]
        running = triton.serving(tmp_path / "repository", tmp_path, *arguments, vision=True)
        with running as server:

            async def run() -> None:
                traces = {"endpoint": collector.url}
                models = {"smollm2": {"tokenizer": str(smollm2)}}
                async with serving(server.http, traces=traces, models=models) as served:
                    for flags in ("00", "01"):
                        headers = {"traceparent": f"00-{TRACE}-{SPAN}-{flags}"}
                        answer = await served.client.post(
                            "/v1/completions", json=BODY, headers=headers
                        )
                        assert answer.status_code == 200
                    assert (await served.post("/v1/completions", **BODY)).status_code == 200

            async def arrived() -> None:
                async with asyncio.timeout(60):
                    while len(roots(collector)) < 2 or len(named(collector, "llm_request")) < 2:
                        await asyncio.sleep(0.01)

            run_as_served(run())
            asyncio.run(arrived())
        asked = named(collector, "text_completion smollm2")
        expected = [(span.trace_id.hex(), span.span_id.hex()) for span in asked]
        assert sorted(roots(collector)) == sorted(expected)
        assert expected[0][0] == TRACE
        engines = {
            (one.trace_id.hex(), one.parent_span_id.hex())
            for one in named(collector, "llm_request")
        }
        assert engines == {
            (span["traceId"], span["spanId"]) for span in of_triton(collector, "smollm2")
        }

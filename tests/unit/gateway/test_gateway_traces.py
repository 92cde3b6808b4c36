"""Spans as a collector gets them, and how the server is told to continue them."""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from support.collectors import Collector, collecting, values
from support.command_line import trtbuild
from support.fake_triton import FakeTriton, fake_triton, said, words
from support.gateways import run_as_served, serving, tokenizer
from support.scripted_http import STREAM, answer
from trtbuild_dialects.samples import silent_wav
from trtbuild_gateway.telemetry import otel

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "secret"}], "stream": True}
ERROR = Status.STATUS_CODE_ERROR
COMPLETIONS = "/v1/chat/completions"


def sent_traces(triton: FakeTriton) -> list[str]:
    """The ``traceparent`` of each generate request, empty without one."""
    found = [re.search(r"traceparent: (\S+)", h) for h in triton.heads if "/generate" in h]
    return [one[1] if one else "" for one in found]


def asked(
    collector: Collector, *requests: tuple[dict[str, Any], str], share: float = 1.0, **scripts: Any
) -> list[str]:
    """Send chats, and return what the server was told of their traces."""
    told: list[str] = []

    async def run() -> None:
        async with fake_triton(**scripts) as triton:
            own = {"tokenizer": str(tokenizer())}
            traces = {"endpoint": collector.url, "share": share}
            models: dict[str, Any] = dict.fromkeys(scripts, own)
            if "big" in models:
                models["big"] = {**own, "fallbacks": ["small"]}
            async with serving(triton.url, models=models, traces=traces) as served:
                for body, parent in requests:
                    headers = {"x-request-id": "r", **({"traceparent": parent} if parent else {})}
                    await served.client.post(COMPLETIONS, json={**CHAT, **body}, headers=headers)
                await served.client.get("/health/ready")
            told.extend(sent_traces(triton))

    run_as_served(run())
    return told


def test_a_request_is_two_spans_between_those_of_client_and_server() -> None:
    with collecting() as collector:
        told = asked(collector, ({"model": "m"}, f"00-{TRACE}-{SPAN}-01"), m=words("He", "llo"))
        http, chat = collector.spans
    assert (http.name, http.kind) == (f"POST {COMPLETIONS}", Span.SPAN_KIND_SERVER)
    assert (http.trace_id.hex(), http.parent_span_id.hex()) == (TRACE, SPAN)
    assert (chat.name, chat.kind) == ("chat m", Span.SPAN_KIND_CLIENT)
    assert (chat.trace_id.hex(), chat.parent_span_id) == (TRACE, http.span_id)
    assert told == [f"00-{TRACE}-{chat.span_id.hex()}-01"]
    assert values(http.attributes) == {
        "http.request.method": "POST", "http.route": COMPLETIONS, "url.path": COMPLETIONS,
        "url.scheme": "http", "http.response.header.x-request-id": ["r"],
        "http.response.status_code": 200, "gen_ai.request.model": "m",
    }  # fmt: skip
    found = values(chat.attributes)
    assert 0 < found.pop("gen_ai.response.time_to_first_chunk") < 30
    assert found.pop("gen_ai.usage.input_tokens") > 0
    assert found == {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "trtbuild",
        "gen_ai.request.model": "m", "gen_ai.usage.output_tokens": 2,
        "gen_ai.response.finish_reasons": ["stop"],
    }  # fmt: skip
    assert http.status.code == chat.status.code == Status.STATUS_CODE_UNSET
    assert collector.resource["service.name"] == "trtbuild-gateway"
    assert b"secret" not in b"".join(one.SerializeToString() for one in collector.requests)


@pytest.mark.parametrize(
    ("parent", "share"), [(f"00-{TRACE}-{SPAN}-00", 1.0), ("", 0.0), ("00-bad", 0.0)]
)
def test_an_unsampled_request_leaves_no_span_and_the_server_gets_no_header(
    parent: str, share: float
) -> None:
    with collecting() as collector:
        told = asked(collector, ({"model": "m"}, parent), share=share, m=words("Hello"))
    assert told == [""]
    assert collector.requests == []


def test_errors_are_in_the_spans_also_those_behind_a_status_200() -> None:
    busy = [answer(b'{"error": "busy"}', 503)]
    scripts = {"big": busy, "small": words("a"), "cut": [STREAM, said("a"), "reset"]}
    with collecting() as collector:
        requests = [({"model": name}, "") for name in ("big", "cut", "none")]
        told = asked(collector, *requests, **scripts)
        spans = collector.spans
    assert [span.name.partition(" ")[2] for span in spans] == [
        COMPLETIONS, "big", "small", COMPLETIONS, "cut", COMPLETIONS,
    ]  # fmt: skip
    errors = [values(span.attributes).get("error.type") for span in spans]
    assert errors == [
        None, "server_error", None, "upstream_error", "upstream_error", "model_not_found",
    ]  # fmt: skip
    assert [span.status.code == ERROR for span in spans] == [False, True, False, True, True, False]
    statuses = [values(span.attributes).get("http.response.status_code") for span in spans]
    assert statuses == [200, None, None, 200, None, 404]
    parents = [one.split("-")[2] for one in told]
    assert parents[-2:] == [spans[2].span_id.hex(), spans[4].span_id.hex()]
    assert len({span.trace_id for span in spans}) == 3


def test_tasks_without_text_are_traced_too() -> None:
    with collecting() as collector:

        async def run() -> None:
            async with fake_triton(m=words("x")) as triton:
                triton.spec = ((("audio", "BYTES"),), (("text", "BYTES"),))
                async with serving(triton.url, traces={"endpoint": collector.url}) as served:
                    files = {"file": ("a.wav", base64.b64decode(silent_wav()))}
                    path = "/v1/audio/transcriptions"
                    await served.client.post(path, data={"model": "m"}, files=files)
                head = next(one for one in triton.heads if "/infer" in one)
                trace = re.search(r"traceparent: 00-(\w+)-(\w+)-0[13]", head)
                assert trace is not None, triton.heads
                told.extend(trace.groups())
                assert "x-session-id" not in head

        told: list[str] = []
        run_as_served(run())
        (http,) = collector.spans
    assert told == [http.trace_id.hex(), http.span_id.hex()]


def test_a_collector_that_is_gone_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(otel, "_LAST_SECONDS", 0.05)
    with collecting() as collector:
        pass
    told = asked(collector, ({"model": "m"}, ""), m=words("Hello"))
    assert told != [""]
    assert f"{collector.url} did not take the last spans in time" in caplog.text


@pytest.mark.parametrize(
    ("endpoint", "code", "says"),
    [
        ("http://127.0.0.1:1/v1/traces", 2, "pip install 'trtbuild-gateway[otel]'"),
        ("127.0.0.1:4318", 3, "traces.endpoint"),
        ("http://user:secret@127.0.0.1:4318", 3, "traces.endpoint"),
    ],
)
def test_traces_that_cannot_be_sent_stop_the_start(
    endpoint: str, code: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    file = tmp_path / "gateway.yaml"
    file.write_text(json.dumps({"port": 0, "traces": {"endpoint": endpoint}}))
    done = trtbuild("gateway", "-f", str(file))
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert "secret" not in done.stderr

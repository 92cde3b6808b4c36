"""Verifying against a server: what works passes, what does not is named."""

from __future__ import annotations

import asyncio
import http.server
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.command_line import trtbuild
from support.deployments import deployable
from support.fake_triton import FakeTriton, fake_triton, said, words
from support.ports import refusing
from support.scripted_http import STREAM, answer
from trtbuild.errors import UsageError
from trtbuild_deploy.facts import ProbeRequest, read_facts
from trtbuild_deploy.jobs import tracing, verifying
from trtbuild_deploy.jobs.addresses import Addresses
from trtbuild_deploy.jobs.golden import read_golden
from trtbuild_deploy.jobs.tracing import request_of, trace_arrives

PAGE = """\
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{model="llama",version="1"} 3
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_count{model="llama",version="1"} 1
vllm:time_to_first_token_seconds_sum{model="llama",version="1"} 1
# TYPE nv_inference_request_failure counter
nv_inference_request_failure{model="llama",version="1",reason="BACKEND"} 0
"""
REST = """\
# TYPE vllm:time_per_output_token_seconds histogram
vllm:time_per_output_token_seconds_count{model="llama",version="1"} 1
vllm:time_per_output_token_seconds_sum{model="llama",version="1"} 1
# TYPE vllm:e2e_request_latency_seconds histogram
vllm:e2e_request_latency_seconds_count{model="llama",version="1"} 1
vllm:e2e_request_latency_seconds_sum{model="llama",version="1"} 1
"""


@pytest.fixture(scope="module")
def page() -> Iterator[dict[str, str]]:
    """A page of metrics (and a gateway's models) whose text a test sets."""
    shown = {"url": "", "/metrics": PAGE + REST, "key": ""}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = shown.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or "")))
            self.end_headers()
            self.wfile.write((body or "").encode())

        def log_message(self, *args: object) -> None:
            pass

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            allowed = shown["key"] in (self.headers["Authorization"] or "")
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            pieces = b'data: {"choices": [{"text": "a"}]}\n\n' * 3
            if self.path == "/v1/embeddings":
                pieces = b'{"data": [{"embedding": [0.5, 1]}]}'
            self.wfile.write(pieces if allowed else b"{}")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        shown["url"] = f"http://127.0.0.1:{server.server_address[1]}"
        yield shown
        server.shutdown()


@pytest.fixture
def triton() -> Iterator[FakeTriton]:
    """A Triton in a thread; its model ``llama`` streams three words."""
    loop, made, over = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    found: list[FakeTriton] = []

    async def serve() -> None:
        async with fake_triton(llama=words("a", "b", "c")) as fake:
            found.append(fake)
            made.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert made.wait(30)
    yield found[0]
    loop.call_soon_threadsafe(over.set)
    thread.join(30)
    loop.close()


def verify(repo: Path, triton: FakeTriton, *more: str) -> tuple[int, dict[str, Any], str]:
    done = trtbuild("deploy", "verify", repo, "--url", triton.url, *more, "--json")
    found = json.loads(done.stdout)
    steps = {one["name"]: one for one in found} if isinstance(found, list) else {}
    return done.returncode, steps, done.stderr


def test_a_deployment_that_works(tmp_path: Path, triton: FakeTriton, page: dict[str, str]) -> None:
    page["/metrics"] = PAGE + REST
    metrics = ("--metrics", f"{page['url']}/metrics")
    code, steps, errors = verify(
        deployable(tmp_path), triton, *metrics, "--during", f"{sys.executable} -c pass"
    )
    assert code == 0, errors
    assert steps["llama streams"]["said"] == "3 pieces"
    assert steps["metrics of tokens"]["ok"]
    assert ", 0 cut, 0 refused" in steps["a restart cuts no stream"]["said"]


def test_a_metric_that_is_missing_is_named(
    tmp_path: Path, triton: FakeTriton, page: dict[str, str]
) -> None:
    page["/metrics"] = PAGE
    metrics = ("--metrics", f"{page['url']}/metrics")
    code, steps, errors = verify(deployable(tmp_path), triton, *metrics)
    assert code == 7
    assert steps["metrics of in_flight"]["said"] == "vllm:e2e_request_latency_seconds missing"
    assert "metrics of in_flight" in errors


def test_a_cut_stream_fails(tmp_path: Path, triton: FakeTriton) -> None:
    def cut(body: dict[str, Any]) -> Any:
        long = json.loads(body["sampling_parameters"])["max_tokens"] == 64
        return [STREAM, said("a"), "close"] if long else words("a", "b")

    triton.scripts["llama"] = cut
    code, steps, _ = verify(deployable(tmp_path), triton, "--during", f"{sys.executable} -c pass")
    assert code == 7
    assert "0 streams whole" in steps["a restart cuts no stream"]["said"]


def test_a_buffering_proxy_is_seen(tmp_path: Path, triton: FakeTriton) -> None:
    triton.scripts["llama"] = words("abc")
    code, steps, _ = verify(deployable(tmp_path), triton)
    assert code == 7
    assert "buffers" in steps["llama streams"]["fix"]


def test_a_gateway_lists_and_streams(
    tmp_path: Path, triton: FakeTriton, page: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page |= {"/v1/models": '{"data": [{"id": "other"}]}', "key": "sk-1"}
    code, steps, _ = verify(deployable(tmp_path), triton, "--gateway", page["url"])
    assert code == 7
    assert steps["the gateway lists the models"]["said"] == "llama missing"
    assert not steps["llama streams through the gateway"]["ok"]
    page["/v1/models"] = '{"data": [{"id": "llama"}]}'
    monkeypatch.setenv("TRTBUILD_API_KEY", "sk-1")
    _, steps, _ = verify(tmp_path / "model_repository", triton, "--gateway", page["url"])
    assert steps["the gateway lists the models"]["ok"]
    assert steps["llama streams through the gateway"]["said"] == "3 pieces"


def test_nobody_answers(tmp_path: Path, triton: FakeTriton) -> None:
    repo = deployable(tmp_path)
    triton.port = 1
    code, steps, errors = verify(repo, triton, "--metrics", "http://127.0.0.1:1/metrics")
    assert code == 7
    assert not steps["llama answers"]["ok"]
    assert "is readable" in errors


def test_each_failed_check_says_what_to_do(tmp_path: Path, page: dict[str, str]) -> None:
    repo, other = deployable(tmp_path), page["url"]
    with refusing() as port:
        nobody = f"127.0.0.1:{port}"
        done = trtbuild("deploy", "verify", repo, "--url", nobody, "--gateway", nobody)
    for name in ("llama answers", "the gateway lists the models"):
        _, said = done.stdout.split(f"FAIL {name}: ")
        assert nobody in said.splitlines()[0]
        assert said.splitlines()[1].startswith("     fix: check --")
    assert "4 of 4 checks of the deployment failed" in done.stderr
    assert "follow the fix of each failed check" in done.stderr
    page |= {"/v1/models": "<html>\nnot mine", "key": "sk-1"}
    done = trtbuild("deploy", "verify", repo, "--url", other, "--gateway", other)
    assert "check --url: what answers there is not the HTTP port of a Triton" in done.stdout
    assert "no list of models: <html> not mine" in done.stdout


def test_a_command_that_is_none(tmp_path: Path, triton: FakeTriton) -> None:
    code, _, errors = verify(deployable(tmp_path), triton, "--during", "'a")
    assert code == 2
    assert "is not a command" in errors


@pytest.mark.parametrize("form", ["{}", "sh -c '{}'"])
def test_a_restart_that_nothing_waits_for_is_refused_with_one_that_waits(
    tmp_path: Path, form: str
) -> None:
    repo, restart = deployable(tmp_path), "kubectl -n a rollout restart deployment/chat"
    waiting = f"sh -c '{restart} && kubectl -n a rollout status deployment/chat'"
    with pytest.raises(UsageError, match="returns before anything restarts") as caught:
        verifying.verify(repo, Addresses("127.0.0.1:1"), during=form.format(restart))
    assert caught.value.fix == f'--during "{waiting}"'
    assert verifying._words(waiting, read_facts(repo))[0] == "sh"


def test_golden_prompts_are_asked(tmp_path: Path, triton: FakeTriton) -> None:
    lines = ({"contains": ["b", "c"]}, {"contains": ["b", "x"], "excludes": ["a"]})
    file = tmp_path / "golden.jsonl"
    asked = {"model": "llama", "prompt": "Hi"}
    file.write_text("\n\n".join(json.dumps({**asked, **line}) for line in lines))
    code, steps, errors = verify(deployable(tmp_path), triton, "--golden", str(file))
    assert code == 7
    assert steps["golden prompt 1 of llama"]["ok"]
    assert steps["golden prompt 2 of llama"]["said"] == "'abc' is without 'x' and with 'a'"
    assert "golden prompt 2" in errors


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no golden prompt"),
        ("{", "line 1 is not a golden prompt"),
        ('{"model": "m", "prompt": "p", "contains": []}', "contains: "),
        ('\n{"model": "m", "prompt": "p", "contains": ["a"], "contain": 1}', "line 2"),
    ],
)
def test_a_file_without_golden_prompts_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "golden.jsonl"
    file.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_golden(file)
    with pytest.raises(UsageError, match="cannot be read"):
        read_golden(tmp_path)


TEMPO = {
    "batches": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": name}}]},
            "scopeSpans": [{"spans": [{}] * count}],
        }
        for name, count in (("trtbuild-gateway", 1), ("triton", 2))
    ]
}
JAEGER = {
    "data": [
        {
            "spans": [{"processID": "p1"}] * 3,
            "processes": {"p1": {"serviceName": "triton"}},
        }
    ]
}


@pytest.mark.parametrize(
    ("answer", "said"),
    [(TEMPO, "3 spans of triton, trtbuild-gateway"), (JAEGER, "3 spans of triton")],
)
def test_a_trace_is_found_where_it_should_arrive(
    tmp_path: Path,
    triton: FakeTriton,
    page: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    answer: dict[str, Any],
    said: str,
) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda size: "a" * 2 * size)
    page[f"/api/traces/{'a' * 32}"] = json.dumps(answer)
    code, steps, errors = verify(deployable(tmp_path), triton, "--traces", page["url"])
    assert code == 0, errors
    assert steps["a trace arrives"]["said"] == said
    assert any(f"traceparent: 00-{'a' * 32}-{'a' * 16}-01" in head for head in triton.heads)


@pytest.mark.parametrize(
    ("option", "address"),
    [
        ("--url", ""),
        ("--url", "http://"),
        ("--url", ":0"),
        ("--url", "ftp://chat"),
        ("--gateway", "chat:99999"),
        ("--metrics", "127.0.0.1:8002/metrics"),
        ("--metrics", "http://[::1/metrics"),
        ("--traces", "tempo:3200"),
        ("--gateway", "https://me:s3cret@chat"),
    ],
)
def test_what_is_no_address_is_refused_before_anything_is_asked(
    tmp_path: Path, triton: FakeTriton, option: str, address: str
) -> None:
    words = {"--url": triton.url, option: address}
    done = trtbuild(
        "deploy", "verify", tmp_path, *(word for pair in words.items() for word in pair)
    )
    assert done.returncode == 2
    assert f"{option} has a login" in done.stderr or f"{option} {address!r} is not" in done.stderr
    assert "s3cret" not in done.stderr
    assert not triton.heads


def test_a_trace_that_does_not_arrive_fails(
    tmp_path: Path, triton: FakeTriton, page: dict[str, str]
) -> None:
    addresses = Addresses(triton.url, traces=page["url"])
    step = trace_arrives(deployable(tmp_path), addresses, 0.1)
    assert not step.ok
    assert "the store answers 404 after 0 s" in step.said
    assert "tracing.url" in step.fix


def test_a_gateway_answers_with_vectors(
    tmp_path: Path, triton: FakeTriton, page: dict[str, str]
) -> None:
    page |= {"/v1/models": json.dumps({"data": [{"id": "llama"}]}), "key": ""}
    repo = deployable(tmp_path, "onnx", "embed")
    _, steps, _ = verify(repo, triton, "--gateway", page["url"])
    assert steps["llama answers through the gateway"]["said"] == "a vector of 2 numbers"
    page["key"] = "k1"
    _, steps, _ = verify(repo, triton, "--gateway", page["url"])
    refused = steps["llama answers through the gateway"]
    assert not refused["ok"]
    assert refused["said"].endswith("/v1/embeddings: HTTP 401, {}")
    assert "TRTBUILD_API_KEY" in refused["fix"]


@pytest.mark.parametrize(
    ("builder", "gateway", "path"),
    [
        ("vllm", "g:1", "/v1/completions"),
        ("onnx", "g:1", "/v1/embeddings"),
        ("onnx", "", "/v2/models/llama/infer"),
    ],
)
def test_a_trace_passes_the_gateway_where_it_can(
    tmp_path: Path, builder: str, gateway: str, path: str
) -> None:
    case = "embed" if builder == "onnx" else "plain"
    facts = read_facts(deployable(tmp_path, builder, case))
    url, found, body = request_of(facts, Addresses("t:1", gateway=gateway))
    assert (url, found) == (gateway or "t:1", path)
    assert body


def test_a_model_that_is_only_asked_whether_it_is_ready_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = read_facts(deployable(tmp_path, "onnx", "embed"))
    mute = replace(facts.models[0], probe=ProbeRequest("llama", "/v2/models/llama/ready"))
    monkeypatch.setattr(tracing, "read_facts", lambda _: replace(facts, models=(mute,)))
    step = trace_arrives(tmp_path, Addresses("127.0.0.1:9", traces="http://127.0.0.1:9"))
    assert "no model takes a request as JSON" in step.said


def test_a_refused_request_is_told_before_its_trace_is_waited_for(
    tmp_path: Path, triton: FakeTriton
) -> None:
    triton.scripts["llama"] = [answer(b'{"error": "no GPU"}', 503)]
    addresses = Addresses(triton.url, traces="http://127.0.0.1:9")
    step = trace_arrives(deployable(tmp_path), addresses)
    assert (step.ok, step.said) == (
        False, 'the request of the trace failed: HTTP 503, {"error": "no GPU"}'
    )  # fmt: skip

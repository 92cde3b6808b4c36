"""The probe tells healthy, busy, hung and dead apart."""

from __future__ import annotations

import http.server
import importlib.util
import json
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from trtbuild_deploy.resources import data_file

_SPEC = importlib.util.spec_from_file_location("trtbuild_probe", data_file("chart/files/probe.py"))
assert _SPEC
assert _SPEC.loader
PROBE: Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(PROBE)
ANSWER = b'data: {"text_output": " a"}\n\n'


@dataclass
class Played:
    """A Triton of one model, as the test wants it to be."""

    url: str = ""
    answer: bytes | None = ANSWER
    status: int = 200
    tokens: float = 7.0
    works: bool = False
    asked: int = 0


@pytest.fixture(scope="module")
def server() -> Iterator[Played]:
    played, over = Played(), threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            played.tokens += played.works
            page = f'vllm:generation_tokens_total{{model="m",version="1"}} {played.tokens}\n'
            page += 'vllm:generation_tokens_total{model="other",version="1"} 1e3\n'
            self._send(page.encode(), 200)

        def do_POST(self) -> None:
            played.asked += 1
            self.rfile.read(int(self.headers["Content-Length"]))
            if played.answer is None:
                over.wait(600)
            else:
                self._send(played.answer, played.status)

        def _send(self, body: bytes, status: int) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        played.url = f"http://127.0.0.1:{found.server_address[1]}"
        yield played
        over.set()
        found.shutdown()


@pytest.fixture
def triton(server: Played) -> Played:
    server.answer, server.status, server.works, server.asked = ANSWER, 200, False, 0
    return server


@pytest.fixture
def probe(triton: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def run(mode: str = "live", *, progress: str = "vllm:generation_tokens_total") -> int:
        request = {"model": "m", "path": "/m/generate_stream", "body": {"a": 1}}
        config = {
            "url": triton.url,
            "metrics": f"{triton.url}/metrics",
            "timeout": 0.3,
            "requests": [{**request, "progress": progress}],
        }
        (tmp_path / "probe.json").write_text(json.dumps(config))
        monkeypatch.setattr(sys, "argv", ["probe.py", mode, f"--config={tmp_path}/probe.json"])
        code: int = PROBE.main()
        return code

    return run


@pytest.mark.parametrize("mode", ["startup", "live", "ready"])
def test_a_token_is_healthy(probe: Any, triton: Played, mode: str) -> None:
    assert probe(mode) == 0
    assert triton.asked == 1


def test_no_proxy_stands_between(
    probe: Any, triton: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urllib.request, "_opener", None)  # it knows the proxies of its first call
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert probe() == 0
    assert triton.asked == 1


def test_a_hung_engine_fails_although_the_server_answers(
    probe: Any, triton: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    triton.answer = None
    assert probe() == 1
    assert "m: no answer in 0.3 s, and no work goes on" in capsys.readouterr().out


def test_a_busy_engine_is_healthy_on_the_first_call(probe: Any, triton: Played) -> None:
    triton.answer, triton.works = None, True
    assert probe() == 0


def test_work_between_two_calls_counts(probe: Any, triton: Played) -> None:
    assert probe() == 0
    triton.answer, triton.tokens = None, triton.tokens + 5
    assert probe() == 0
    assert probe() == 1


def test_without_a_counter_only_an_answer_counts(probe: Any, triton: Played) -> None:
    triton.answer, triton.works = None, True
    assert probe(progress="") == 1


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (b'data: {"error": "engine is dead"}\n\n', 200, "engine is dead"),
        (b'{"error": "stub process is not healthy"}', 400, "status 400"),
        (b"", 200, "ended without an answer"),
        (b"data: no JSON\n\n", 200, "Expecting value"),
    ],
)
def test_a_dead_engine_fails_at_once(
    probe: Any,
    triton: Played,
    capsys: pytest.CaptureFixture[str],
    answer: bytes,
    status: int,
    said: str,
) -> None:
    triton.answer, triton.status, triton.works = answer, status, True
    assert probe("ready") == 1
    assert said in capsys.readouterr().out


def test_a_full_queue_is_busy(probe: Any, triton: Played) -> None:
    triton.answer, triton.status = b'{"error": "Exceeds maximum queue size"}', 503
    assert probe() == 0


def test_a_server_that_is_gone_fails(probe: Any, triton: Played) -> None:
    kept, triton.url = triton.url, "http://127.0.0.1:1"
    assert probe() == 1
    triton.url = kept

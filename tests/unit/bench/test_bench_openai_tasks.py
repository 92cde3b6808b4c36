"""``--endpoint embeddings`` and ``rerank``: models behind an OpenAI base URL that make no text."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from support.command_line import trtbuild

ODD: dict[str, tuple[int, Any]] = {
    "short": (200, {"data": [{}]}),
    "listless": (200, {"data": 7}),
    "hidden": (200, {"error": {"message": "out of memory"}}),
    "text": (400, {"error": {"message": "'text' is not an embedding model"}}),
    "page": (200, "<html>"),
}
"""Status and body of a model's answer to anything."""


class OpenAI(BaseHTTPRequestHandler):
    """An OpenAI base URL; every text has five tokens."""

    protocol_version = "HTTP/1.1"
    asked: list[tuple[str, Any]]

    def do_GET(self) -> None:
        self.say(200, {"data": [{"id": name} for name in ("m", *ODD)]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, body))
        if body["model"] in ODD:
            self.say(*ODD[body["model"]])
        elif self.path == "/v1/embeddings":
            count = len(body["input"])
            rows = [{"index": at, "embedding": "AACAPw=="} for at in range(count)]
            self.say(200, {"data": rows, "usage": {"prompt_tokens": 5 * count}})
        else:
            count = len(body["documents"])
            rows = [{"index": at, "relevance_score": 0.5} for at in range(count)]
            self.say(200, {"results": rows, "usage": {"total_tokens": 5 * count}})

    def say(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), OpenAI)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    monkeypatch.setattr(OpenAI, "asked", found, raising=False)
    return found


@pytest.mark.parametrize(("endpoint", "member"), [("embeddings", "input"), ("rerank", "documents")])
def test_sequences_are_measured(
    url: str, asked: list[tuple[str, Any]], endpoint: str, member: str
) -> None:
    done = trtbuild(
        "bench", f"openai:{url}#m", "--endpoint", endpoint, "--texts", "1,3", "--requests", 8,
        "--warmup", 1, "--prompt-tokens", 5, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    one, three = json.loads(done.stdout)["targets"][0]["loads"]
    assert (one["tokens"]["input"], three["tokens"]["input"]) == (8 * 5, 8 * 3 * 5)
    metrics = three["metrics"]
    assert metrics["sequences_per_s"] == pytest.approx(3 * metrics["requests_per_s"], rel=1e-4)
    assert metrics["ttft_ms"] is None and metrics["e2e_ms"]["p50"] > 0
    assert {path for path, _ in asked} == {f"/v1/{endpoint}"}
    assert {len(body[member]) for _, body in asked} == {1, 3}
    if endpoint == "rerank":
        assert all(body["query"] == body["documents"][0] for _, body in asked)


def test_two_servers_of_one_model_are_compared(url: str) -> None:
    targets = [f"{name}=openai:{url}#m" for name in ("a", "b")]
    done = trtbuild("bench", *targets, "--endpoint", "embeddings", "--requests", 6)
    assert done.returncode == 0, done.stderr
    assert "seq/s" in done.stdout and "TTFT" not in done.stdout


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("short", "an answer has 1 rows for 2 texts"),
        ("listless", 'not an answer of /embeddings: {"data": 7}'),
        ("hidden", "out of memory"),
        ("text", "'text' is not an embedding model"),
        ("page", "not an answer of /embeddings"),
    ],
)
def test_an_answer_that_is_none_is_a_failure(url: str, model: str, said: str) -> None:
    done = trtbuild(
        "bench", f"openai:{url}#{model}", "--endpoint", "embeddings", "--texts", 2,
        "--requests", 4,
    )  # fmt: skip
    assert done.returncode == 8 and said in " ".join((done.stdout + done.stderr).split())
    assert f"{url}/embeddings" in done.stderr and "chat/completions" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (("--endpoint", "embedding"), 2, "auto, chat, completions, embeddings, rerank"),
        (("--endpoint", "rerank", "--chat"), 2, "/rerank takes plain texts"),
        (("--endpoint", "rerank", "--export", "aiperf"), 2, "/rerank are not exported"),
        (("--texts", "2"), 2, "it takes one prompt a request"),
    ],
)
def test_flags_that_do_not_fit(url: str, flags: tuple[str, ...], code: int, said: str) -> None:
    done = trtbuild("bench", f"openai:{url}#m", *flags)
    assert (done.returncode, said in " ".join(done.stderr.split())) == (code, True), done.stderr
    assert "fix:" in done.stderr


def test_a_model_that_the_server_does_not_list(url: str) -> None:
    done = trtbuild("bench", f"openai:{url}#n", "--endpoint", "rerank")
    assert (done.returncode, "has no model 'n'" in done.stderr) == (7, True)

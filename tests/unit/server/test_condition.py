"""A server whose engine is dead: what status, infer and serve say of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from trtbuild import process
from trtbuild.cli.app import app
from trtbuild.client import failures, wait_ready
from trtbuild.client.llm import LLMClient
from trtbuild.client.reference import DiffersError
from trtbuild.errors import ServerError
from trtbuild.pipeline import serve
from trtbuild.pipeline.condition import condition, explained, explained_death
from trtbuild.server import ServerHandle, handle

LOG = """\
I1129 21:00:00.000000 1 model.cc:1] "successfully loaded 'bot'"
(EngineCore pid=7) ERROR 11-29 21:00:01 [core.py:1] Traceback (most recent call last):
(EngineCore pid=7) ERROR 11-29 21:00:01 [core.py:2] RuntimeError: no space left for the cache
TypeError: what somebody else wrote
E1129 21:00:02.000000 1 pb_stub.cc:1] "[vllm] the engine died; requests are answered UNAVAILABLE"
"""


class Server(BaseHTTPRequestHandler):
    """Says of the model ``bot`` what the test wants."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if "/bot/" in self.path else 200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerHandle]:
    monkeypatch.setenv("TRTBUILD_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(Server, "status", 200)
    server = HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    (tmp_path / "servers").mkdir()
    (tmp_path / "server.log").write_text(LOG)
    made = ServerHandle(
        id="abc123",
        mode="embedded",
        pid=os.getpid(),
        started=process.start_time(os.getpid()),
        host="127.0.0.1",
        http_port=server.server_port,
        grpc_port=1,
        metrics_port=2,
        log_path=str(tmp_path / "server.log"),
        repo=str(tmp_path / "repo"),
        models=("bot",),
        ready=True,
    )
    handle.save(made)
    yield made
    server.shutdown()
    server.server_close()


def test_a_model_that_is_not_ready_any_more_is_dead(
    found: ServerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert condition(found) == "ready"
    monkeypatch.setattr(Server, "status", 400)
    assert condition(found) == "dead"
    assert found.health == "ready"  # its process lives, so nobody sweeps it away


def test_status_gives_the_engines_own_words(
    found: ServerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "status", 400)
    said = CliRunner().invoke(app, ["status"]).stdout
    assert "abc123  dead" in said
    assert "the engine of bot has ended: RuntimeError: no space left for the cache" in said
    assert "trtbuild logs abc123" in said
    assert '"health": "dead"' in CliRunner().invoke(app, ["status", "--json"]).stdout


@pytest.mark.parametrize(
    "error",
    [
        failures.unknown_model("u", "bot", ()),
        failures.refused("bot", "the vLLM engine is dead; its log tells why"),
        failures.refused("bot", "Request for unknown model: 'bot' version 1 is not at ready state"),
    ],
)
def test_infer_says_why_the_engine_is_dead(found: ServerHandle, error: ServerError) -> None:
    said = explained_death(error, "bot", found.http_url)
    assert said.what.startswith("the engine of bot is dead")
    assert "RuntimeError: no space left for the cache" in " ".join(said.details)
    assert said.fix
    assert explained_death(error, "bot", "elsewhere:1") is error
    assert explained_death(error, "other", found.http_url) is error


def test_a_refused_request_is_no_death(found: ServerHandle) -> None:
    error = failures.refused("bot", "max_tokens must be at least 1\n\nAt:\n  /srv/model.py(8): f\n")
    assert explained_death(error, "bot", found.http_url) is error
    assert "/srv" not in error.what and "At:" not in error.what


def test_wrong_numbers_are_not_explained_by_the_log(found: ServerHandle) -> None:
    with Path(found.log_path).open("a") as log:
        log.write("W1130 04:00:00.000000 1 metrics.cc:811] Cannot get CUDA device: no driver\n")
    error = DiffersError("'m' does not answer as its reference does", fix="convert it again")
    assert explained(error, found) is error
    assert explained(ServerError("it ended", fix="look"), found) is not error


def test_serve_ends_when_all_engines_are_dead(
    found: ServerHandle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Server, "status", 400)
    monkeypatch.setattr("trtbuild.server.stop", lambda *_, **__: None)
    lines: list[str] = []

    def show(line: str) -> None:
        lines.append(line)

    def write() -> None:
        with (tmp_path / "server.log").open("a") as log:
            log.write(LOG.splitlines()[-1] + "\n")

    timer = threading.Timer(0.2, write)
    timer.start()
    with pytest.raises(ServerError, match="the engine of bot is dead"):
        serve.stay(found, show, poll=0.05)
    assert len(lines) == 1


def test_waiting_ends_with_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first answer that kills the engine is not waited for."""
    dead = failures.refused("bot", "the vLLM engine is dead")
    monkeypatch.setattr(LLMClient, "ready", lambda *_: True)

    def kill(*_: object, **__: object) -> None:
        raise dead

    monkeypatch.setattr(LLMClient, "try_out", kill)
    with pytest.raises(failures.NotServedError, match="does not answer any more"):
        wait_ready("127.0.0.1:1", ["bot"], 60)


def test_memory_maps_are_read_hardly_ever(
    found: ServerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read once, after 1 s, 2 s, 4 s, …, 30 s; whether it lives is asked each time."""
    now, looked, asked = [0.0], [], []
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("trtbuild.server.watch", lambda one: looked.append(now[0]) or one)
    monkeypatch.setattr("trtbuild.server.require_alive", lambda _: asked.append(now[0]))
    watch = serve._Watcher(found, lambda _: None)
    for _ in range(1200):
        watch()
        now[0] += 0.25
    assert looked[:5] == [0, 1, 3, 7, 15]
    assert len(looked) == 14 and len(asked) == 1200 - 14

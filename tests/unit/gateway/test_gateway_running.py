"""The process: its command, how it drains, slow clients, what it imports, and its documentation."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.command_line import trtbuild
from support.fake_triton import FakeTriton, said
from support.gateways import Served, in_front
from support.paths import ROOT
from support.scripted_http import END, STREAM
from trtbuild_gateway import app, running
from trtbuild_gateway.schema.parameters import table
from trtbuild_gateway.settings_file import read_settings

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(180):
        while not condition():
            await asyncio.sleep(0.005)


def test_a_drain_cuts_no_stream_and_refuses_with_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_REFUSING_SECONDS", 60)

    async def test(triton: FakeTriton, served: Served) -> None:
        stream = asyncio.create_task(served.post("/v1/chat/completions", **CHAT, stream=True))
        await eventually(lambda: bool(triton.bodies))
        stopping = asyncio.create_task(served.server.shutdown())
        await eventually(lambda: served.gateway.draining)
        refused = await served.post("/v1/chat/completions", **CHAT)
        assert refused.status_code == 503
        assert "retry-after" in refused.headers
        answer = await stream
        assert answer.text.endswith("data: [DONE]\n\n")
        assert '"finish_reason":"stop"' in answer.text
        monkeypatch.setattr(running, "_REFUSING_SECONDS", 0)
        await stopping

    in_front(test, script=[STREAM, said("a"), 0.3, said("b", "stop"), END])


def test_a_drain_leaves_no_idle_connection_to_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_REFUSING_SECONDS", 600)

    async def test(triton: FakeTriton, served: Served) -> None:
        assert (await served.post("/v1/chat/completions", **CHAT)).status_code == 200
        assert triton.connections
        stream = asyncio.create_task(served.post("/v1/chat/completions", **CHAT, stream=True))
        await eventually(lambda: len(triton.bodies) == 2)
        stopping = asyncio.create_task(served.server.shutdown())
        assert (await stream).text.endswith("data: [DONE]\n\n")
        await eventually(lambda: not triton.connections)
        assert not stopping.done()
        monkeypatch.setattr(running, "_REFUSING_SECONDS", 0)
        await stopping

    in_front(test)


def test_new_requests_are_refused_for_the_whole_time_also_with_a_short_drain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(running, "_REFUSING_SECONDS", 60)

    async def test(_: FakeTriton, served: Served) -> None:
        stopping = asyncio.create_task(served.server.shutdown())
        await asyncio.sleep(0.2)  # twice the drain
        refused = await served.post("/v1/chat/completions", **CHAT)
        assert refused.status_code == 503
        monkeypatch.setattr(running, "_REFUSING_SECONDS", 0)
        await stopping

    in_front(test, drain_seconds=0.1)


def test_a_drain_ends_in_its_time_over_a_stream_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(running, "_REFUSING_SECONDS", 0.1)

    async def test(triton: FakeTriton, served: Served) -> None:
        stream = asyncio.create_task(served.post("/v1/chat/completions", **CHAT, stream=True))
        await eventually(lambda: bool(triton.bodies))
        async with asyncio.timeout(180):  # the script is silent for 600 s
            await served.server.shutdown()
        stream.cancel()

    in_front(test, script=[STREAM, said("a"), 600, END], drain_seconds=0.3)


def test_the_server_of_the_repository_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRTBUILD_STATE_DIR", str(tmp_path))
    repo, other = tmp_path / "repo", tmp_path / "other"
    (tmp_path / "servers").mkdir()
    record = {
        "id": "a", "pid": os.getpid(), "http_port": 8123, "grpc_port": 8124, "metrics_port": 8125,
        "repo": str(repo), "models": ["m"], "host": "127.0.0.1",
    }  # fmt: skip
    (tmp_path / "servers" / "a.json").write_text(json.dumps(record))
    file = tmp_path / "gateway.yaml"
    file.write_text("repository: repo\n")
    assert read_settings(None, repository=repo).url == "127.0.0.1:8123"
    assert read_settings(file).url == "127.0.0.1:8123"
    assert read_settings(None, repository=repo, url="h:1").url == "h:1"
    assert read_settings(None, repository=other).url == "127.0.0.1:8000"
    file.write_text("repository: repo\nurl: h:2\n")
    assert read_settings(file).url == "h:2"


@pytest.mark.parametrize("sent", [b"", b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"])
def test_a_client_that_never_ends_its_head_is_closed(sent: bytes) -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        host, _, port = served.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(sent)
        async with asyncio.timeout(180):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()

    in_front(test, header_seconds=0.1)


def test_a_client_that_never_ends_its_body_gets_a_status() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        host, _, port = served.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{"
        writer.write(head)
        async with asyncio.timeout(180):
            assert b" 408 " in await reader.readline()
        writer.close()

    in_front(test, body_seconds=0.1)


def test_a_body_of_a_gigabyte_is_refused_by_its_length() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        host, _, port = served.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n{"
        )
        async with asyncio.timeout(180):
            assert b" 413 " in await reader.readline()
        writer.close()

    in_front(test)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("no-such-directory",), 2, "is not a directory"),
        (("-f", "missing.yaml"), 3, "cannot be read"),
        (("-f", "bad.yaml"), 3, "is not YAML"),
        (("-f", "long.yaml"), 3, "is not YAML: Exceeds the limit"),
        (("-f", "wrong.yaml"), 3, "prot"),
        (("-f", "both.yaml"), 3, "both 'url' and 'servers'"),
        (("--url", "http://[x"), 3, "is not the address of a server"),
        (("--host", "192.0.2.1"), 2, "cannot listen on 192.0.2.1"),
        (("--port", "9000", "--control-port", "9000"), 2, "which is that of the models"),
        (("--control-port", "70000"), 3, "70000 is not a port"),
    ],
)
def test_a_gateway_that_cannot_start(
    arguments: tuple[str, ...], code: int, says: str, tmp_path: Any
) -> None:
    (tmp_path / "bad.yaml").write_text("a: [")
    (tmp_path / "long.yaml").write_text(f"port: {'9' * 5000}")
    (tmp_path / "wrong.yaml").write_text("prot: 5")
    (tmp_path / "both.yaml").write_text("url: a:1\nservers: [b:1]")
    done = trtbuild("gateway", *arguments, cwd=tmp_path)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert "fix:" in done.stderr


def test_nothing_heavy_is_imported() -> None:
    heavy = ["torch", "transformers", "vllm", "numpy", "pydantic", "grpc", "huggingface_hub"]
    heavy += ["redis", "regex", "jwt", "cryptography", "opentelemetry"]  # extras
    code = (
        "import sys, trtbuild_gateway.running, trtbuild_gateway.upstream.catalog, "
        "trtbuild_gateway.access.gate, trtbuild_gateway.telemetry.otel; "
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_reference_names_every_path_and_parameter() -> None:
    page = (ROOT / "docs" / "reference" / "gateway.md").read_text(encoding="utf-8")
    paths = [path.replace(":path", "") for path in (*app._GET, *app._POST)]
    names = {name for row in table().values() for name in row.names} - {"user", "priority"}
    missing = [word for word in (*paths, *sorted(names)) if f"`{word}`" not in page]
    assert [word for word in missing if f" {word}`" not in page] == []


def test_metrics_do_not_hide_an_error_behind_its_status() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        await served.post("/v1/chat/completions", **CHAT, stream=True)
        page = (await served.client.get("/metrics")).text
        assert 'gen_ai_client_token_usage_total{endpoint="/v1/chat/completions"' in page
        counted = [line for line in page.splitlines() if "requests_total{" in line]
        assert counted == [
            'trtbuild_gateway_requests_total{endpoint="/v1/chat/completions",'
            'error="upstream_error",model="m",status="200"} 1.0'
        ], json.dumps(counted)

    in_front(test, script=[STREAM, said("a"), "reset"])

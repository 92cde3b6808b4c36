"""Models are loaded and unloaded through the gateway on a real Triton.

The server is shared, but the models are the test's own: Triton 24.10 now and then keeps a model
that is unloaded after a cancelled stream (ADR 54).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import triton
from support.gateways import Served, run_as_served, serving
from support.lanes import rounds
from support.live_models import write_llm
from support.waiting import wait_for

Test = Callable[[Served], Awaitable[None]]
NAMES = [f"controlled{number}" for number in range(4)]
LONG = {"prompt": "x", "max_tokens": 5000, "stream": True}


@pytest.fixture(scope="module")
def server(tasks_server: triton.Triton) -> Iterator[triton.Triton]:
    """A server with models that are not loaded."""
    for name in NAMES:
        write_llm(tasks_server.repo, name)
    yield tasks_server
    for name in NAMES:
        tasks_server.control("unload", name)


def in_front(server: triton.Triton, test: Test, **settings: Any) -> None:
    """Run a test with a gateway in front of the server."""

    async def run() -> None:
        async with serving(server.http, control={"unload_seconds": 60}, **settings) as served:
            await test(served)

    run_as_served(run())


async def post(served: Served, action: str, name: str, **body: Any) -> httpx.Response:
    return await served.control.post(f"/v1/model/{action}", json={"model": name, **body})


async def text(served: Served, name: str) -> str:
    answer = await served.post("/v1/completions", model=name, prompt="x", max_tokens=3)
    return str(answer.json()["choices"][0]["text"])


def test_a_load_that_fails_keeps_the_old_model(server: triton.Triton) -> None:
    name = NAMES[0]
    config, code = server.repo / name / "config.pbtxt", server.repo / name / "1" / "model.py"
    good_config, good_code = config.read_text(), code.read_text()

    async def test(served: Served) -> None:
        loaded = (await post(served, "load", name)).json()
        assert loaded["versions"] == [{"version": "1", "state": "READY"}]
        assert loaded["job"]["warm_up_seconds"] > 0
        # Code that cannot be imported has Triton 24.10 wait for the old model when it exits.
        config.write_text(good_config + "nonsense: 3\n")
        failed = await post(served, "load", name)
        assert failed.status_code == 502
        assert "loaded before goes on serving" in failed.json()["error"]["message"]
        assert await text(served, name) == "aaa"
        config.write_text(good_config)
        # Python compares the time, in whole seconds, and the size of a file with its bytecode.
        code.write_text(good_code.replace('b"a"', 'b"b"') + "# changed\n")
        assert (await post(served, "load", name)).json()["job"]["replaces"] is True
        assert await text(served, name) == "bbb"
        assert (await post(served, "unload", name)).json()["state"] == "unloaded"
        refused = await served.post("/v1/completions", model=name, prompt="x")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_not_ready")
        code.write_text("import a_module_that_is_nowhere\n")
        failed = await post(served, "load", name)
        assert "No module named 'a_module_that_is_nowhere'" in failed.json()["error"]["message"]
        state = (await served.control.get(f"/v1/model/state/{name}")).json()
        assert (state["state"], "a_module_that_is_nowhere" in state["reason"]) == ("failed", True)
        code.write_text(good_code)

    in_front(server, test)


def test_the_watchdog_sees_queue_and_processes(
    server: triton.Triton, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRTBUILD_STATE_DIR", str(tmp_path))
    (tmp_path / "servers").mkdir()
    record = {
        "id": "a", "pid": server.process.pid, "http_port": server.http_port,
        "grpc_port": server.grpc_port, "metrics_port": server.metrics_port,
        "models": [], "repo": str(server.repo),
    }  # fmt: skip
    (tmp_path / "servers" / "a.json").write_text(json.dumps(record))

    async def usage(served: Served, name: str) -> Any:
        return (await served.control.get(f"/v1/model/state/{name}")).json()["usage"]

    async def test(served: Served) -> None:
        # Only a stream has a time to its first token.
        body = {"model": "letters", "prompt": "x", "max_tokens": 3, "stream": True}
        began, asked, found = time.monotonic(), 0, {}
        async with asyncio.timeout(180):
            while "between_tokens_seconds" not in found:  # letters may come together
                await served.post("/v1/completions", **body)
                asked += 1
                found = await usage(served, "letters")
            took = time.monotonic() - began
            while "cpus" not in found or found["requests"] < asked:
                await asyncio.sleep(0.05)
                found = await usage(served, "letters")
        made = (found["requests"], found["errors"], found["output_tokens"])
        assert made == (asked, 0, 3 * asked)
        assert 0 < found["first_token_seconds"]["p50"] < took
        assert 0 <= found["between_tokens_seconds"]["p95"] < took
        assert found["queued"] == 0
        assert (found["processes"], found["rss_bytes"] > 10_000_000) == (1, True)
        async with asyncio.timeout(180):  # what an earlier test unloaded may end meanwhile
            while True:
                state = (await served.control.get("/v1/model/state")).json()
                whole = state["servers"][0]["usage"]
                if whole["processes"] == 1 + len(server.children()):
                    break
                await asyncio.sleep(0.05)
        assert whole["rss_bytes"] > found["rss_bytes"]
        page = (await served.client.get("/metrics")).text
        for name in ("queued", "rss_bytes", "cpu_seconds_total"):
            assert f'trtbuild_gateway_model_{name}{{model="letters",server=' in page

    in_front(server, test, refresh_seconds=0.2)


async def _round(served: Served, url: str, name: str, *, leave: bool) -> None:
    """Load a model, open a stream, and unload the model while it runs."""
    loaded = await post(served, "load", name)
    assert loaded.status_code == 200, loaded.text
    requests = served.gateway.catalog.requests(url, name)
    stream = asyncio.create_task(served.post("/v1/completions", model=name, **LONG))
    async with asyncio.timeout(180):
        while not len(requests):
            await asyncio.sleep(0.005)
    if leave:
        stream.cancel()
    unloaded = await post(served, "unload", name, seconds=0.05)
    assert unloaded.json()["state"] == "unloaded", unloaded.text
    with contextlib.suppress(asyncio.CancelledError):
        ended = (await stream).text
        assert "was unloaded before the answer was complete" in ended
        assert ended.endswith("data: [DONE]\n\n" if ended.startswith("data:") else "}")


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[triton.Triton]:
    """A server that a test may ruin: on a busy machine Triton 24.10 can die of such rounds."""
    repository = tmp_path / "repository"
    repository.mkdir()
    with triton.serving(repository, tmp_path) as server:
        for name in NAMES:
            write_llm(repository, name)
        yield server


@pytest.mark.long
def test_rounds_of_load_cancel_unload_leave_nothing(own_server: triton.Triton) -> None:
    server, count = own_server, rounds(20, 200)

    def left() -> tuple[int, int]:
        return len(server.children()), len(server.shm())

    async def test(served: Served) -> None:
        before = left()

        async def rounds_of(name: str) -> None:
            for number in range(count // len(NAMES)):
                await _round(served, server.http, name, leave=bool(number % 2))

        await asyncio.gather(*(rounds_of(name) for name in NAMES))
        await asyncio.to_thread(wait_for, lambda: left() == before)

    in_front(server, test)

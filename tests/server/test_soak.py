"""Rounds of loading, cancelling, killing: nothing may be left of any of them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from support.lanes import rounds
from support.models import COUNT, DIES, HANGS, MOST, write_python_model
from support.waiting import runs, unused_shm, wait_for
from trtbuild import process, server
from trtbuild.errors import ServerError
from trtbuild.pipeline import serve
from trtbuild.server import LaunchOptions, Ports, ServerHandle
from trtbuild.server.runtime import Runtime

ROUNDS = rounds(25, 400)
SHM = Path("/dev/shm")


def options(**more: Any) -> LaunchOptions:
    return LaunchOptions(ports=Ports(*process.free_ports(3)), **{"exit_seconds": 60, **more})


def start(repo: Path, *, timeout: float = 300, **more: Any) -> ServerHandle:
    serving = serve.prepare(repo, mode="embedded", options=options(**more))
    return serve.start(serving, timeout=timeout)


def shm_of(found: ServerHandle) -> list[str]:
    return [path.name for path in SHM.glob(f"trtbuild_{found.id}_*")]


def stubs_of(found: ServerHandle) -> list[int]:
    members = process.family(found.pid, found.started, found.id)
    return [one.pid for one in members if one.pid != found.pid]


@pytest.fixture(autouse=True)
def nothing_is_left(runtime: Runtime) -> Iterator[None]:
    before = unused_shm()
    running = tritons()
    yield
    for one in server.servers():
        server.stop(one, deadline=0)
    assert unused_shm() - before == set()
    assert tritons() - running == set()


def tritons() -> set[int]:
    children = psutil.Process().children(recursive=True)
    return {one.pid for one in children if "triton" in one.name()}


def control(found: ServerHandle, model: str, action: str) -> None:
    connection = http.client.HTTPConnection(found.host, found.http_port, timeout=180)
    connection.request("POST", f"/v2/repository/models/{model}/{action}", "{}")
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    connection.close()


def stream_and_leave(found: ServerHandle, model: str) -> int:
    """Begin a stream, read some responses, and cancel it; how many were read."""
    from tritonclient import grpc

    text = grpc.InferInput("TEXT", [1], "BYTES")
    text.set_data_from_numpy(np.array([b"hello"], dtype=object))
    responses: list[object] = []
    with grpc.InferenceServerClient(found.grpc_url) as client:
        client.start_stream(lambda result, error: responses.append(error or result))
        client.async_stream_infer(model, [text])
        wait_for(lambda: responses)
        client.stop_stream(cancel_requests=True)
    assert not [one for one in responses[:1] if isinstance(one, Exception)]
    return len(responses)


@pytest.mark.long
def test_rounds_of_load_cancel_unload(tmp_path: Path) -> None:
    repo = write_python_model(tmp_path / "models", "count", COUNT, decoupled=True)
    serving = serve.prepare(
        repo, mode="embedded", options=options(arguments=("--model-control-mode=explicit",))
    )
    found = server.launch(serving.contents, "embedded", serving.options)
    wait_for(lambda: server.says_ready(found))
    for _ in range(ROUNDS):
        control(found, "count", "load")
        stream_and_leave(found, "count")
        control(found, "count", "unload")
    wait_for(lambda: not stubs_of(found) and not shm_of(found))
    counted = [json.loads(line) for line in (repo / "count/counted.jsonl").read_text().split()]
    assert len(counted) == ROUNDS
    assert max(counted) < MOST  # each noticed that nobody listens any more
    assert server.stop(found).swept == ()


@pytest.mark.long
def test_rounds_of_starting_and_killing_at_any_moment(tmp_path: Path) -> None:
    repo = write_python_model(tmp_path / "models", "echo")
    serving = serve.prepare(repo, mode="embedded", options=options())
    count = rounds(8, 60)
    for index in range(count):
        found = server.launch(serving.contents, "embedded", options())
        time.sleep(index * 1.2 / count)  # before, during and after loading
        if index % 2:
            os.kill(found.pid, signal.SIGKILL)
        server.stop(found, deadline=0)
        assert stubs_of(found) == []
        assert shm_of(found) == []
    assert server.servers() == ()


def test_a_stub_that_hangs_while_loading_is_ended(tmp_path: Path) -> None:
    repo = write_python_model(tmp_path / "models", "echo", HANGS)
    with pytest.raises(ServerError, match="not ready within 3 s"):
        start(repo, timeout=3)
    assert server.servers() == ()


def test_a_stub_that_dies_while_loading_is_told(tmp_path: Path) -> None:
    repo = write_python_model(tmp_path / "models", "echo", DIES)
    with pytest.raises(ServerError, match="ended while it was loading") as error:
        start(repo)
    assert "echo" in error.value.details[0]
    assert server.servers() == ()


def test_ten_models_start_and_stop_together(tmp_path: Path) -> None:
    for index in range(10):
        write_python_model(tmp_path / "models", f"echo{index}")
    found = start(tmp_path / "models")
    assert len(stubs_of(found)) == 10
    assert server.stop(found).in_time
    assert shm_of(found) == []


def test_a_stopped_stub_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    repo = write_python_model(tmp_path / "models", "echo")
    found = start(repo, exit_seconds=600)  # longer than a test may take
    (stub,) = stubs_of(found)
    os.kill(stub, signal.SIGSTOP)
    assert not server.stop(found, deadline=2).in_time
    assert not runs(stub)

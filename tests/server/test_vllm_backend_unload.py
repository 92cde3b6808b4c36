"""Engines that die, models that are unloaded: no process of theirs stays behind.

The server is one on which no stream was cancelled: after that Triton 24.10 now and then keeps a
model that is unloaded forever (ADR 54).
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from support.smollm2 import generate, smollm2_served
from support.triton import Triton, title
from support.waiting import wait_for
from trtbuild.client import LLMClient, Sampling

LONG = Sampling(max_tokens=400, temperature=0, ignore_eos=True)


@pytest.fixture(scope="module")
def own_server(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    # Its engine starts four times: without compiling each start takes half as long.
    with smollm2_served(smollm2, tmp_path_factory.mktemp("unload"), enforce_eager=True) as server:
        yield server


def test_a_killed_engine_is_noticed_answered_and_can_be_loaded_again(own_server: Triton) -> None:
    engines = [p for p in own_server.children() if "EngineCore" in title(p)]
    assert len(engines) == 1
    with LLMClient(own_server.grpc) as client:
        chunks = client.generate("smollm2", "Once upon a time", LONG)
        next(chunks)
        engines[0].send_signal(signal.SIGKILL)
        with pytest.raises(Exception, match="engine is dead"):
            list(chunks)
    wait_for(lambda: not own_server.ready("smollm2"))
    _until_alone(own_server)
    answer = generate(own_server, sampling={"max_tokens": 1})
    assert "no available versions" in answer.text
    url = f"http://{own_server.http}/v2/repository/models/smollm2/load"
    assert httpx.post(url, timeout=480).status_code == 200
    answer = generate(own_server, sampling={"max_tokens": 2, "temperature": 0})
    assert answer.json()["text_output"].endswith("is Paris.")


def test_an_idle_engine_that_dies_is_noticed_without_a_request(own_server: Triton) -> None:
    engine = next(p for p in own_server.children() if "EngineCore" in title(p))
    engine.send_signal(signal.SIGKILL)
    wait_for(lambda: not own_server.ready("smollm2"))
    _until_alone(own_server)
    url = f"http://{own_server.http}/v2/repository/models/smollm2/load"
    assert httpx.post(url, timeout=480).status_code == 200


def test_unloading_ends_every_process_of_the_model(own_server: Triton) -> None:
    base = f"http://{own_server.http}/v2/repository/models/smollm2"
    assert len(own_server.children()) >= 2
    assert httpx.post(f"{base}/unload", timeout=480).status_code == 200
    _until_alone(own_server)
    assert httpx.post(f"{base}/load", timeout=480).status_code == 200
    answer = generate(own_server, sampling={"max_tokens": 2, "temperature": 0})
    assert answer.json()["text_output"].endswith("is Paris.")


def _until_alone(server: Triton) -> None:
    """Wait until no process of a model is left; who is, and where it waits, is told."""
    until = time.monotonic() + 180
    while left := server.children():
        if time.monotonic() > until:
            raise AssertionError("\n".join(map(_whereabouts, left)))
        time.sleep(0.2)


def _whereabouts(process: psutil.Process) -> str:
    tasks = Path(f"/proc/{process.pid}/task").glob("*/wchan")
    return f"{process.pid} {title(process)}: {sorted(path.read_text() for path in tasks)}"

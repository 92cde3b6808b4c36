"""Clients that leave, engines that die: nothing goes on, nothing stays behind."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import httpx
import psutil
import pytest
from test_vllm_backend import generate

from support.triton import Triton
from trtbuild.client import LLMClient, Sampling

pytestmark = pytest.mark.server
LONG = Sampling(max_tokens=400, temperature=0, ignore_eos=True)


def leave_after(server: Triton, pieces: int, *, protocol: str = "grpc") -> int:
    """Read some pieces of a long answer and go; the tokens that arrived."""
    url = server.grpc if protocol == "grpc" else server.http
    seen = 0
    with LLMClient(url, protocol) as client:  # type: ignore[arg-type]
        chunks = client.generate("smollm2", "Once upon a time", LONG)
        for chunk in chunks:
            seen += chunk.output_tokens or 0
            if seen >= pieces:
                break
        chunks.close()
    return seen


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_engine_stops_within_ten_tokens_of_a_disconnect(
    vllm_server: Triton, protocol: str
) -> None:
    for pieces in (1, 7, 20):
        before = vllm_server.settled()["generation_tokens_total"]
        seen = leave_after(vllm_server, pieces, protocol=protocol)
        made = vllm_server.settled()["generation_tokens_total"] - before
        assert made - seen <= 10, f"{made - seen} tokens after the client left"


def test_a_request_that_does_not_stream_is_cancelled_too(vllm_server: Triton) -> None:
    before = vllm_server.settled()["generation_tokens_total"]
    import tritonclient.grpc as triton_grpc

    from trtbuild.client.grpc_transport import _input

    with LLMClient(vllm_server.grpc) as asking:
        metadata = asking.metadata("smollm2")
    values = {
        "text_input": "Once upon a time",
        "sampling_parameters": json.dumps(LONG.given()),
    }
    with triton_grpc.InferenceServerClient(vllm_server.grpc) as client:
        client.start_stream(lambda result, error: None)
        client.async_stream_infer(
            "smollm2", [_input(metadata, name, value) for name, value in values.items()]
        )
        time.sleep(1)
        client.stop_stream(cancel_requests=True)
    made = vllm_server.settled()["generation_tokens_total"] - before
    assert 0 < made < 60


def test_a_queued_request_is_cancelled_without_ever_running(vllm_server: Triton) -> None:
    """max_num_seqs is 16: the others wait, and leave while they wait."""
    before = vllm_server.settled()
    clients = [LLMClient(vllm_server.grpc) for _ in range(20)]
    answers = [client.generate("smollm2", "Once upon a time", LONG) for client in clients]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(20) as pool:
        first = [pool.submit(next, answer) for answer in answers]
        time.sleep(4)
        waiting = vllm_server.metrics()["num_requests_waiting"]
        for future, client in zip(first, clients, strict=True):
            if not future.done():
                client._transport._client.stop_stream(cancel_requests=True)
        for client in clients:
            client.close()
    after = vllm_server.settled()
    assert waiting == 4
    assert after["prompt_tokens_total"] - before["prompt_tokens_total"] == 16 * 4


@pytest.mark.slow
def test_200_rounds_of_load_and_cancel_leave_nothing(vllm_server: Triton) -> None:
    generate(vllm_server, sampling={"max_tokens": 1})
    vllm_server.settled()
    processes = _lasting(vllm_server)
    shm = sorted(vllm_server.shm())
    for round_number in range(200):
        leave_after(vllm_server, 2, protocol="grpc" if round_number % 4 else "http")
        if round_number % 20 == 0:
            answer = generate(vllm_server, sampling={"max_tokens": 2, "temperature": 0})
            assert answer.json()["text_output"].endswith("is Paris.")
    rest = vllm_server.settled()
    assert rest["num_requests_running"] == rest["num_requests_waiting"] == 0
    assert rest["kv_cache_usage_perc"] == 0
    assert _lasting(vllm_server) == processes
    assert sorted(vllm_server.shm()) == shm


def test_a_killed_engine_is_noticed_answered_and_can_be_loaded_again(vllm_server: Triton) -> None:
    engines = [p for p in vllm_server.children() if "EngineCore" in _title(p)]
    assert len(engines) == 1
    with LLMClient(vllm_server.grpc) as client:
        chunks = client.generate("smollm2", "Once upon a time", LONG)
        next(chunks)
        engines[0].send_signal(signal.SIGKILL)
        with pytest.raises(Exception, match="engine is dead"):
            list(chunks)
    _until(lambda: not vllm_server.ready("smollm2"), 30)
    _until_alone(vllm_server)
    answer = generate(vllm_server, sampling={"max_tokens": 1})
    assert "no available versions" in answer.text
    url = f"http://{vllm_server.http}/v2/repository/models/smollm2/load"
    assert httpx.post(url, timeout=180).status_code == 200
    answer = generate(vllm_server, sampling={"max_tokens": 2, "temperature": 0})
    assert answer.json()["text_output"].endswith("is Paris.")


def test_an_idle_engine_that_dies_is_noticed_without_a_request(vllm_server: Triton) -> None:
    engine = next(p for p in vllm_server.children() if "EngineCore" in _title(p))
    engine.send_signal(signal.SIGKILL)
    _until(lambda: not vllm_server.ready("smollm2"), 60)
    _until_alone(vllm_server)
    url = f"http://{vllm_server.http}/v2/repository/models/smollm2/load"
    assert httpx.post(url, timeout=180).status_code == 200


def test_unloading_ends_every_process_of_the_model(vllm_server: Triton) -> None:
    base = f"http://{vllm_server.http}/v2/repository/models/smollm2"
    assert len(vllm_server.children()) >= 2
    assert httpx.post(f"{base}/unload", timeout=60).status_code == 200
    _until_alone(vllm_server)
    assert httpx.post(f"{base}/load", timeout=180).status_code == 200
    answer = generate(vllm_server, sampling={"max_tokens": 2, "temperature": 0})
    assert answer.json()["text_output"].endswith("is Paris.")


def _lasting(server: Triton) -> set[int]:
    """Its processes, but for the guard's naps: each is a process of its own, a shell at first."""
    found = []
    for _ in range(2):
        titles = {process.pid: _title(process) for process in server.children()}
        found.append({pid for pid, title in titles.items() if not title.startswith("sleep")})
        time.sleep(0.2)
    return found[0] & found[1]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join([process.name(), *process.cmdline()])
    except psutil.Error:
        return ""


def _until_alone(server: Triton) -> None:
    """Wait until no process of a model is left; who is, and where it waits, is told."""
    until = time.monotonic() + 60
    while left := server.children():
        if time.monotonic() > until:
            raise AssertionError("\n".join(map(_whereabouts, left)))
        time.sleep(0.2)


def _whereabouts(process: psutil.Process) -> str:
    tasks = Path(f"/proc/{process.pid}/task").glob("*/wchan")
    return f"{process.pid} {_title(process)}: {sorted(path.read_text() for path in tasks)}"


def _until(condition: object, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.2)

"""Clients that leave: nothing goes on, nothing stays behind."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial

import pytest

from support.lanes import rounds
from support.smollm2 import generate
from support.triton import Triton, title
from support.waiting import least, wait_for
from trtbuild.client import AsyncLLMClient, LLMClient, Sampling
from trtbuild.wire.tensors import InferRequest, TensorValue
from trtbuild.wire.triton_grpc import TritonGrpc

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
    def unread(pieces: int) -> float:
        before = vllm_server.settled()["generation_tokens_total"]
        seen = leave_after(vllm_server, pieces, protocol=protocol)
        return vllm_server.settled()["generation_tokens_total"] - before - seen

    for pieces in (1, 7, 20):
        assert least(partial(unread, pieces), 11) <= 10


def test_a_request_that_does_not_stream_is_cancelled_too(vllm_server: Triton) -> None:
    before = vllm_server.settled()["generation_tokens_total"]
    values = {
        "text_input": "Once upon a time",
        "sampling_parameters": json.dumps(LONG.given()),
    }
    tensors = (TensorValue(name, "BYTES", (1,), [value]) for name, value in values.items())

    def made() -> float:
        return vllm_server.metrics()["generation_tokens_total"] - before

    async def leave() -> None:
        async with TritonGrpc(vllm_server.grpc) as client:

            async def ask() -> None:
                async for _ in client.stream_infer("smollm2", InferRequest(tuple(tensors))):
                    pytest.fail("the answer came before the client left")

            asked = asyncio.create_task(ask())
            await asyncio.to_thread(wait_for, made)
            asked.cancel()
            await asyncio.wait([asked])
            assert asked.cancelled()

    asyncio.run(leave())
    vllm_server.settled()
    assert 0 < made() < LONG.max_tokens


def test_a_queued_request_is_cancelled_without_ever_running(vllm_server: Triton) -> None:
    """max_num_seqs is 16: the others wait, and leave while they wait."""
    before = vllm_server.settled()

    def places() -> tuple[float, float]:
        metrics = vllm_server.metrics()
        return metrics["num_requests_running"], metrics["num_requests_waiting"]

    async def leave() -> None:
        clients = [AsyncLLMClient(vllm_server.grpc) for _ in range(20)]
        answers = [client.generate("smollm2", "Once upon a time", LONG) for client in clients]
        first = [asyncio.ensure_future(anext(answer)) for answer in answers]
        await asyncio.to_thread(wait_for, lambda: places() == (16, 4))
        for chunk in first:
            chunk.cancel()  # changes nothing where it has arrived
        await asyncio.gather(*first, return_exceptions=True)
        for answer, client in zip(answers, clients, strict=True):
            await answer.aclose()
            await client.close()

    asyncio.run(leave())
    after = vllm_server.settled()
    assert after["prompt_tokens_total"] - before["prompt_tokens_total"] == 16 * 4


@pytest.mark.long
def test_rounds_of_load_and_cancel_leave_nothing(vllm_server: Triton) -> None:
    generate(vllm_server, sampling={"max_tokens": 1})
    vllm_server.settled()
    processes = _lasting(vllm_server)
    shm = sorted(vllm_server.shm())
    for round_number in range(rounds(40, 400)):
        leave_after(vllm_server, 2, protocol="grpc" if round_number % 4 else "http")
        if round_number % 20 == 0:
            answer = generate(vllm_server, sampling={"max_tokens": 2, "temperature": 0})
            assert answer.json()["text_output"].endswith("is Paris.")
    rest = vllm_server.settled()
    assert rest["num_requests_running"] == rest["num_requests_waiting"] == 0
    assert rest["kv_cache_usage_perc"] == 0
    wait_for(lambda: _lasting(vllm_server) <= processes)
    assert sorted(vllm_server.shm()) == shm


def _lasting(server: Triton) -> set[int]:
    """Its processes, but for the guard's naps: each is a process of its own, a shell at first."""
    found = []
    for _ in range(2):
        titles = {process.pid: title(process) for process in server.children()}
        found.append({pid for pid, name in titles.items() if not name.startswith("sleep")})
        time.sleep(0.2)
    return found[0] & found[1]

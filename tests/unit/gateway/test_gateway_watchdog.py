"""What is known of a model's latency, queue and GPU memory, and that nothing is made up."""

from __future__ import annotations

import os
from typing import Any

import pytest

from support.fake_triton import FakeTriton, words
from support.gateways import Served, in_front
from trtbuild_gateway.control import processes
from trtbuild_gateway.control.figures import read_figures
from trtbuild_gateway.metrics import Recent
from trtbuild_gateway.seams import Outcome

PAGE = """\
# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="m",version="1"} 2
nv_inference_pending_request_count{model="m",version="2"} 1
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model="m",version="1"} 4
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{model="m",version="1"} 0.25
# TYPE nv_trt_llm_request_metrics gauge
nv_trt_llm_request_metrics{model="t",request_type="waiting",version="1"} 7
nv_trt_llm_request_metrics{model="t",request_type="context",version="1"} 9
# TYPE nv_gpu_memory_used_bytes gauge
nv_gpu_memory_used_bytes{gpu_uuid="GPU-1"} 1024
# TYPE nv_gpu_utilization gauge
nv_gpu_utilization{gpu_uuid="GPU-1"} 0.5
# TYPE nv_energy_consumption counter
nv_energy_consumption{gpu_uuid="GPU-1"} 3
"""


def test_the_page_of_a_server() -> None:
    found = read_figures(PAGE)
    assert found.models == {
        "m": {"queued": 3, "engine_running": 4, "kv_cache_usage": 0.25},
        "t": {"engine_waiting": 7},
    }
    assert found.gpus == {"GPU-1": {"memory_used_bytes": 1024, "utilization": 0.5}}
    with pytest.raises(ValueError, match="could not convert"):
        read_figures("nv_inference_pending_request_count{} high")
    with pytest.raises(ValueError, match="not a page of metrics"):
        read_figures('a_total{b="c", ="e"} 10')


def test_the_times_of_the_last_calls() -> None:
    recent = Recent()
    assert recent.of(["m"]) == {}
    recent.note("m", Outcome(prompt_tokens=3, completion_tokens=2), 0.5, 0.1)
    recent.note("m", Outcome(error="upstream_error"), None, None)
    recent.note("n", Outcome(error="client_left", completion_tokens=1), 1.5, None)
    assert recent.of(["m", "n", "o"]) == {
        "requests": 3,
        "errors": 1,
        "input_tokens": 3,
        "output_tokens": 3,
        "first_token_seconds": {"p50": 1.0, "p95": 1.45},
        "between_tokens_seconds": {"p50": 0.1, "p95": 0.1},
    }


def test_only_what_is_known_is_shown() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        async def state() -> Any:
            return (await served.control.get("/v1/model/state")).json()

        before = await state()
        assert "usage" not in before["data"][0]
        assert "usage" not in before["servers"][0]
        body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
        await served.post("/v1/chat/completions", **body, stream=True)
        used = (await state())["data"][0]["usage"]
        assert used["requests"] == 1
        assert not {"queued", "rss_bytes", "gpu_memory_bytes"} & used.keys()
        assert "trtbuild_gateway_model_" not in (await served.client.get("/metrics")).text

    in_front(test, script=words("a", "b"))


class _Nvml:
    """NVML with two GPUs, on one of which this process has memory."""

    def __init__(self, *, broken: bool = False) -> None:
        self._broken = broken

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:
        if self._broken:
            raise RuntimeError("the GPU has fallen off the bus")
        used = type("Process", (), {"pid": os.getpid(), "usedGpuMemory": 100 + handle})
        unknown = type("Process", (), {"pid": 1, "usedGpuMemory": None})
        return [used, unknown]


def test_gpu_memory_by_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_nvml", _Nvml)
    assert processes.gpu_memory() == {os.getpid(): 201}
    monkeypatch.setattr(processes, "_nvml", lambda: _Nvml(broken=True))
    assert processes.gpu_memory() == {}


def test_a_process_that_is_no_server_has_no_figures() -> None:
    assert processes.by_model(os.getpid(), {"m"}) == {}
    assert processes.by_model(2**22 - 1, {"m"}) == {}

"""What limited a load, from what was watched; and what the watchers read."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from trtbuild_measure.bench.limits import limited_by
from trtbuild_measure.bench.watching.prometheus import differences, gauges, per_request, sample_of
from trtbuild_measure.bench.watching.server import ServerWatch, Track, Watched


def load(
    *,
    ttft: float = 50.0,
    saturated: bool = False,
    late: float = 0.1,
    waited: int = 0,
    opening: float | None = None,
    **server: Any,
) -> Any:
    return {
        "client": {
            "saturated": saturated,
            "cpu_share": 0.2,
            "waited_for_connection": waited,
            "opening_ms": opening,
        },
        "metrics": {
            "e2e_ms": {"p50": 1000.0, "mean": 1000.0},
            "ttft_ms": {"p50": ttft},
            "client_queue_ms": {"p95": late},
        },
        "server": {"cores": 4, **server},
    }


def mean(value: float) -> dict[str, float]:
    return {"mean": value, "max": value}


@pytest.mark.parametrize(
    ("found", "what", "why"),
    [
        (load(), "unknown", "nothing that was watched"),
        (load(saturated=True), "client", "20% of a core"),
        (load(late=80.0), "client", "80.0 ms late"),
        (load(late=80.0, opening=5.0), "client", "80.0 ms late"),
        (load(late=80.0, opening=79.0), "connect", "79.0 ms or longer for a connection to open"),
        (load(late=80.0, waited=3), "client", "3 requests waited because all connections"),
        (load(cpu_cores=mean(1), machine_cores=mean(3)), "others", "used 1.8 of 4 cores"),
        (load(cpu_cores=mean(3.2), machine_cores=mean(3.5)), "cpu", "3.2 of 4 cores"),
        (
            load(ttft=800.0, cpu_cores=mean(3.2), machine_cores=mean(3.5)),
            "cpu",
            "3.2 of 4 cores; 800 of 1000 ms pass before the first token",
        ),
        (load(running=mean(4), waiting=mean(6)), "queue", "6.0 requests waited"),
        (load(triton_queue_ms=600.0), "queue", "600 ms of 1000 ms"),
        (load(gpu_utilization=mean(0.97)), "gpu", "97%"),
        (load(ttft=800.0), "queue", "800 of 1000 ms pass before the first token"),
        (load(saturated=True, gpu_utilization=mean(0.97)), "client", "as much as of the server"),
    ],
)
def test_what_was_at_its_limit(found: Any, what: str, why: str) -> None:
    told = limited_by(found)
    assert told["what"] == what
    assert why in told["why"]


METRICS = """
# HELP nv_inference_request_success Number
nv_inference_request_success{model="m",version="1"} 10
nv_inference_request_success{model="other",version="1"} 99
nv_inference_queue_duration_us{model="m",version="1"} 5000
nv_inference_count{model="m",version="1"} 40
nv_inference_exec_count{model="m",version="1"} 10
vllm:num_requests_running{model="m",version="1"} 3
vllm:generation_tokens_total{model_name="m"} 1e3
# TYPE vllm:ttft histogram
vllm:ttft_bucket{model="m",le="0.5"} 7
vllm:ttft_sum{model="m"} 2
nv_cpu_utilization 0.5
nv_gpu_memory{gpu_uuid="a \\"b\\""} 5
"""


def test_metrics_of_one_model() -> None:
    found = sample_of(METRICS, "m")
    assert found["nv_inference_request_success"] == 10
    assert "vllm:ttft_bucket" not in found
    assert found["vllm:ttft_sum"] == 2 and found["nv_gpu_memory"] == 5
    assert found["nv_cpu_utilization"] == 0.5
    assert gauges(found) == {"running": 3.0}
    grown = differences(dict.fromkeys(found, 0.0), found)
    assert "vllm:num_requests_running" not in grown
    assert per_request(grown) == {
        "triton_queue_ms": 0.5,
        "triton_batch_size": 4.0,
        "vllm_generation_tokens": 1000.0,
    }


def test_counters_have_one_name_whatever_the_release_calls_them() -> None:
    typed = '# TYPE nv_inference_count counter\nnv_inference_count{model="m"} 4\n'
    assert sample_of(typed, "m") == {"nv_inference_count": 4}
    assert sample_of("vllm:num_preemptions 2\n", "m") == {"vllm:num_preemptions": 2}
    assert sample_of("vllm:num_preemptions_total 2\n", "m") == {"vllm:num_preemptions": 2}


@pytest.mark.parametrize("text", ["<html>", "broken line", 'a{b="c"} NaNs', '{"a": 3}'])
def test_a_page_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        sample_of(text, "m")


def test_a_process_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trtbuild_measure.bench.watching.server._PERIOD", 0.1)
    with ServerWatch(Watched(pid=os.getpid())) as watch:
        until = time.perf_counter() + 30  # a busy machine may take long over one sample
        while watch.tracks.get("cpu_cores", Track()).highest == 0 and time.perf_counter() < until:
            pass
    found = watch.as_dict()
    assert found["cpu_cores"]["max"] > 0
    assert found["rss_bytes"]["mean"] > 1e7
    assert found["machine_cores"]["max"] > 0


def test_nobody_to_watch_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trtbuild_measure.bench.watching.server._PERIOD", 0.01)
    with ServerWatch(Watched(pid=2**22 + 1, metrics_url="http://127.0.0.1:9/metrics")) as watch:
        time.sleep(0.2)
    assert "cpu_cores" not in watch.as_dict()

"""Every alert against the fault that it is for, evaluated by Prometheus's own tool."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.deployments import deployable
from support.prometheus import run_tool
from trtbuild_deploy.jobs.render import render, write
from trtbuild_deploy.resources import data_file

pytestmark = pytest.mark.network

SETTINGS = """
gateway: {enabled: true, image: example/gateway:1}
observe: {labels: {namespace: prod}}
"""
STEPS = 40  # of 15 s before a fault, and twice as many after its beginning
FAULT = STEPS // 4  # minutes


def gauge(before: float, after: float | None = None) -> str:
    return f"{before:g}x{STEPS} {before if after is None else after:g}x{2 * STEPS}"


def counter(before: int, after: int | None = None) -> str:
    """So much in every step, before and after the fault begins."""
    then = before if after is None else after
    return f"0+{before}x{STEPS} {before * STEPS + then}+{then}x{2 * STEPS}"


def gone(step: int = 0) -> str:
    """A counter until its exporter answers no scrape."""
    return f"0+{step}x{STEPS} stale"


LLAMA = 'namespace="prod",model="llama"'
CHAT = f'{LLAMA},endpoint="/v1/chat/completions"'
GOOD = f'trtbuild_gateway_requests_total{{{CHAT},error="",status="200"}}'
LEFT = f'trtbuild_gateway_requests_total{{{CHAT},error="client_left",status="499"}}'
FAILED = f'trtbuild_gateway_requests_total{{{CHAT},error="upstream_error",status="500"}}'
CUT = f'trtbuild_gateway_requests_total{{{CHAT},error="engine_dead",status="200"}}'
FIRST = f"gen_ai_server_time_to_first_token_seconds_bucket{{{CHAT},le="
BETWEEN = f"gen_ai_server_time_per_output_token_seconds_bucket{{{CHAT},le="
TRITON = 'up{namespace="prod",job="triton",instance="server:8002"}'
GATEWAY = 'up{namespace="prod",job="monitoring/model-repository",instance="gateway:9000"}'
IN_FLIGHT = 'trtbuild_gateway_requests_in_flight{namespace="prod"}'
SUCCESS = f'nv_inference_request_success{{{LLAMA},version="1"}}'
BACKEND = f'nv_inference_request_failure{{{LLAMA},version="1",reason="BACKEND"}}'
TOKENS = f'vllm:generation_tokens_total{{{LLAMA},version="1"}}'
ENGINE = f'vllm:time_to_first_token_seconds_count{{{LLAMA},version="1"}}'
USED = 'nv_gpu_memory_used_bytes{namespace="prod",gpu_uuid="GPU-1"}'
TOTAL = 'nv_gpu_memory_total_bytes{namespace="prod",gpu_uuid="GPU-1"}'
QUEUE = f'nv_trt_llm_request_metrics{{{LLAMA},version="1",request_type="waiting"}}'
CACHE = f'nv_trt_llm_kv_cache_block_metrics{{{LLAMA},version="1",kv_cache_block_type="fraction"}}'

HEALTHY = {
    TRITON: gauge(1), GATEWAY: gauge(1), IN_FLIGHT: gauge(4), SUCCESS: counter(15),
    BACKEND: gauge(0), TOKENS: counter(1500), ENGINE: counter(15),
    GOOD: counter(100), FAILED: gauge(0), CUT: gauge(0), LEFT: counter(2),
    f'{FIRST}"0.5"}}': counter(15), f'{FIRST}"5"}}': counter(15), f'{FIRST}"+Inf"}}': counter(15),
    f'{BETWEEN}"0.05"}}': counter(90), f'{BETWEEN}"1"}}': counter(90),
    f'{BETWEEN}"+Inf"}}': counter(90),
    USED: gauge(90), TOTAL: gauge(100), QUEUE: gauge(3), CACHE: gauge(0.6),
}  # fmt: skip

VLLM = ("vllm", "plain", "26.07")
ENGINE_FLOW = ("trtllm-engine", "oldest", "25.01")
# deployment, what changes, minutes after which exactly these alerts fire
FAULTS: list[tuple[tuple[str, str, str], dict[str, str], int, set[str]]] = [
    (VLLM, {}, 20, set()),
    (VLLM, {f'{FIRST}"0.5"}}': counter(15, 0)}, 9, {"TritonFirstTokenSlow"}),
    (VLLM, {f'{BETWEEN}"0.05"}}': counter(90, 0)}, 9, {"TritonTokensSlow"}),
    (VLLM, {FAILED: counter(0, 10)}, 4, {"TritonErrors"}),
    (VLLM, {CUT: counter(0, 10)}, 4, {"TritonErrors"}),  # after a first token
    (VLLM, {BACKEND: counter(0, 3)}, 1, {"TritonEngineDead"}),
    (
        VLLM,  # stalled: requests stay open, nothing moves
        {
            IN_FLIGHT: gauge(4, 16), SUCCESS: counter(15, 0), TOKENS: counter(1500, 0),
            ENGINE: counter(15, 0), GOOD: counter(100, 0),
        },
        5,
        {"TritonEngineStuck"},
    ),
    (VLLM, {IN_FLIGHT: gauge(4, 0), TOKENS: counter(1500, 0)}, 20, set()),  # idle
    (
        VLLM,  # killed
        {TRITON: gauge(1, 0), SUCCESS: gone(), BACKEND: gone(), TOKENS: gone(1500), ENGINE: gone()},
        6,
        {"TritonScrapeFailed", "TritonUnseen", "TritonEngineUnseen"},
    ),
    (
        VLLM,
        {GATEWAY: gauge(1, 0), IN_FLIGHT: gone()},
        3,
        {"TritonScrapeFailed", "TritonGatewayUnseen"},
    ),
    (VLLM, {ENGINE: gone()}, 6, {"TritonEngineUnseen"}),
    (VLLM, {USED: gauge(90, 99)}, 6, {"TritonGpuMemoryFull"}),
    (ENGINE_FLOW, {}, 20, set()),
    (ENGINE_FLOW, {QUEUE: gauge(3, 40)}, 6, {"TritonQueueLong"}),
    (ENGINE_FLOW, {CACHE: gauge(0.6, 0.99)}, 11, {"TritonCacheFull"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (["alertname=TritonErrors", "severity=page"], "page"),
        (["alertname=TritonQueueLong", "severity=notify"], "notify"),
        (["alertname=Other"], "notify"),
    ],
)
def test_alertmanager_sends_an_alert_to_its_receiver(
    tmp_path: Path, labels: list[str], receiver: str
) -> None:
    (tmp_path / "deploy.yaml").write_text("observe: {page: 'http://127.0.0.1:9/page'}\n")
    write(render("observe", deployable(tmp_path), tmp_path / "deploy.yaml"), tmp_path / "out")
    place = f"--config.file={tmp_path / 'out/alertmanager.yaml'}"
    done = run_tool("amtool", "config", "routes", "test", place, *labels)
    assert (done.returncode, done.stdout.strip()) == (0, receiver), done.stderr


def test_prometheus_of_compose_loads_the_rules(tmp_path: Path) -> None:
    (tmp_path / "deploy.yaml").write_text("observe: {labels: {stage: test}}\n")
    write(render("compose", deployable(tmp_path), tmp_path / "deploy.yaml"), tmp_path / "out")
    done = run_tool("promtool", "check", "config", tmp_path / "out/prometheus.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 rule files found" in done.stdout
    config = yaml.safe_load((tmp_path / "out/prometheus.yaml").read_text())
    scraped = [one["static_configs"][0]["labels"] for one in config["scrape_configs"]]
    assert scraped == [{"stage": "test"}] * 2
    service = yaml.safe_load((tmp_path / "out/compose.yaml").read_text())["services"]["prometheus"]
    mounted = {volume["source"]: volume["target"] for volume in service["volumes"]}
    assert mounted["./rules.yaml"] == "/etc/prometheus/rules.yaml"


def firing(minute: int, alerts: set[str]) -> dict[str, Any]:
    """That exactly these alerts fire, by Prometheus's own series of alerts."""
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(alerts)]
    expr = 'group by (alertname) (ALERTS{alertstate="firing"})'
    return {"expr": expr, "eval_time": f"{minute}m", "exp_samples": samples}


def test_every_alert_has_a_fault() -> None:
    table = tomllib.loads(data_file("alerts.toml").read_text(encoding="utf-8"))["alert"]
    assert {row["name"] for row in table} == set().union(*(alerts for *_, alerts in FAULTS))


@pytest.mark.parametrize("deployment", [VLLM, ENGINE_FLOW], ids=["vllm", "trtllm-engine"])
def test_each_alert_fires_for_its_fault_and_no_other(
    tmp_path: Path, deployment: tuple[str, str, str]
) -> None:
    builder, case, release = deployment
    (tmp_path / "deploy.yaml").write_text(SETTINGS)
    repo = deployable(tmp_path, builder, case, release=release)
    write(render("observe", repo, tmp_path / "deploy.yaml"), tmp_path)
    tests = [
        {
            "interval": "15s",
            "input_series": [
                {"series": series, "values": values}
                for series, values in {**HEALTHY, **changes}.items()
            ],
            "promql_expr_test": [firing(FAULT, set()), firing(FAULT + minutes, alerts)],
        }
        for one, changes, minutes, alerts in FAULTS
        if one == deployment
    ]
    wanted = {"rule_files": ["rules.yaml"], "evaluation_interval": "15s", "tests": tests}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(wanted))
    for words in (("check", "rules", "rules.yaml"), ("test", "rules", "tests.yaml")):
        done = run_tool("promtool", *words[:2], tmp_path / words[2])
        assert done.returncode == 0, done.stdout + done.stderr

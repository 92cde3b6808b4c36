"""Prices, and the bounds they rest on where nothing was measured."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from support.specs import llama_8b, llama_70b
from trtbuild import hardware
from trtbuild.cli.app import app
from trtbuild.errors import UsageError
from trtbuild.modelspec import ModelSpec
from trtbuild_measure import cost
from trtbuild_measure.roofline import Device, Workload, decode_step, prefill

ROUND = Device("round", bandwidth=1e12, flops=1e14, source="made up")


@pytest.fixture
def big() -> ModelSpec:
    """Llama-3.3-70B."""
    return llama_70b()


def test_decode_reads_the_weights_once_and_each_cache(big: ModelSpec) -> None:
    work = Workload(big, 140e9)
    one = decode_step(work, ROUND, 1, 1000)
    assert big.kv_cache.bytes_per_token(2) == 327_680
    assert one.seconds == pytest.approx((140e9 + 327_680 * 1000) / 1e12)
    assert one.bound_by == "bandwidth"
    many = decode_step(work, ROUND, 512, 0)
    assert many.seconds == pytest.approx(2 * 70_553_706_496 * 512 / 1e14)
    assert many.bound_by == "compute"


def test_prefill_counts_attention(big: ModelSpec) -> None:
    step = prefill(Workload(big, 140e9), ROUND, 8000)
    linear, attention = 2 * 70_553_706_496 * 8000, 2 * 8000**2 * 8192 * 80
    assert step.seconds == pytest.approx((linear + attention) / 1e14)
    assert prefill(Workload(big, 140e9), ROUND, 1).bound_by == "bandwidth"


def test_a_mixture_of_experts_reads_more_with_more_tokens() -> None:
    spec = llama_8b(parameters=100_000_000_000, active_parameters=10_000_000_000)
    work = Workload(spec, 100e9)
    assert work.weights_read(1) == pytest.approx(10e9)
    assert work.weights_read(2) == pytest.approx(19e9)
    assert work.weights_read(1000) == pytest.approx(100e9)


@pytest.mark.parametrize(("gpu", "published"), [("h200", 2587), ("h100", 2209)])
def test_the_prediction_beside_what_was_published(
    big: ModelSpec, gpu: str, published: float
) -> None:
    """TensorRT-LLM's performance overview: Llama-3.3-70B, FP8, TP2, 1000/1000, tokens/s a GPU."""
    found = cost.predict(big, hardware.gpu(gpu), cost.Mix(1000, 1000), "fp8", tensor=2)
    assert found.output_tokens_per_s / 2 == pytest.approx(published, rel=0.2)


def test_what_does_not_fit_is_not_predicted(big: ModelSpec) -> None:
    found = cost.predict(big, hardware.gpu("l4"), cost.Mix(1000, 1000), "bfloat16")
    assert (found.sequences, found.output_tokens_per_s) == (0, 0.0)
    found_all = cost.layouts(big, hardware.gpu("h100"), cost.Mix(1000, 300))
    assert {one.gpus for one in found_all if one.sequences} == {2, 4, 8, 16}


def test_the_price_of_a_million_tokens() -> None:
    deployment = cost.Deployment(2, 3.0, 1000.0, "given")
    found = cost.self_hosted(deployment, cost.Mix(1000, 250), 0.5)
    assert found.per_million_output == pytest.approx(6 / (1000 * 3600 * 0.5) * 1e6)
    assert found.per_thousand_requests == pytest.approx(found.per_million_output * 0.25)
    assert found.requests_per_month == pytest.approx(1000 * 0.5 * 3600 * 730 / 250)


def test_at_the_break_even_both_cost_the_same() -> None:
    deployment, mix = cost.Deployment(1, 2.0, 800.0, "given"), cost.Mix(1000, 200)
    api = cost.api_price("0.5/2")
    found = cost.compare(deployment, mix, 0.5, api)
    share = found.breakeven_utilization
    assert share is not None and found.breakeven_requests is not None
    same = cost.compare(deployment, mix, share, api)
    assert same.ratio == pytest.approx(1)
    monthly = found.breakeven_requests * (1000 * 0.5 + 200 * 2) / 1e6
    assert monthly == pytest.approx(deployment.usd_per_month)


def test_a_free_api_is_never_beaten() -> None:
    found = cost.compare(
        cost.Deployment(1, 2.0, 800.0, "given"), cost.Mix(10, 10), 0.5, cost.api_price("0/0")
    )
    assert found.ratio is found.breakeven_requests is None


def test_sensitivity_moves_the_right_way() -> None:
    deployment = cost.Deployment(1, 2.0, 800.0, "given")
    found = dict(cost.sensitivity(deployment, cost.Mix(100, 100), 0.5))
    base = found["utilization 50%"].per_million_output
    assert found["utilization 100%"].per_million_output == pytest.approx(base / 2)
    assert found["throughput + 50 %"].per_million_output == pytest.approx(base / 1.5)
    assert found["GPU price - 30 %"].per_million_output == pytest.approx(base * 0.7)


def test_every_price_has_its_date_and_source() -> None:
    rows = [*cost.gpu_prices(), *cost.api_prices()]
    assert all(re.match(r"20\d\d", row.date) and len(row.source) > 8 for row in rows)
    assert len({row.name for row in rows}) == len(rows)
    for row in cost.gpu_prices():
        assert hardware.gpu(row.name).name == row.name, "a row of the table of GPUs"


def test_a_copied_price_is_told_from_one_of_the_provider() -> None:
    rows = [*cost.gpu_prices(), *cost.api_prices()]
    for row in rows:
        assert row.secondary == row.provenance.endswith("not the provider itself")
        assert row.secondary or row.source.startswith("https://"), f"{row.name} needs its page"
    assert 0 < sum(row.secondary for row in rows) < len(rows)


def test_the_command(tmp_path: Path) -> None:
    args = ["cost", "--throughput", "2600", "--gpus", "2", "--gpu", "h200", "--api", "gpt-5-mini"]
    shown = CliRunner().invoke(app, args, catch_exceptions=False)
    assert shown.exit_code == 0
    price = cost.gpu_price("h200")
    for part in (
        "$1.91 a million output tokens",
        price.date,
        price.source,
        "gpt-5-mini",
        "* from a third-party page",
    ):
        assert part in shown.stdout
    found = json.loads(CliRunner().invoke(app, [*args, "--json"]).stdout)
    assert found["own"]["per_million_output"] == pytest.approx(2 * 4.464 / 4.68)


def test_the_throughput_of_a_result_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    loads = [
        {"load": {"label": f"{n} clients"}, "metrics": {"output_tokens_per_s": rate}}
        for n, rate in ((1, 50.0), (8, 300.0), (16, None))
    ]
    environment = {"date": "2026-11-21T00:00:00", "cpu": "a CPU"}
    target = {"name": "smollm2", "loads": loads}
    file.write_text(
        json.dumps({"format": "trtbuild-bench/1", "environment": environment, "targets": [target]})
    )
    args = ["cost", "--result", str(file), "--gpu", "l4", "--json"]
    found = json.loads(CliRunner().invoke(app, args, catch_exceptions=False).stdout)
    assert found["deployment"]["output_tokens_per_s"] == 300
    assert found["deployment"]["source"] == "measured: smollm2 at 8 clients, 2026-11-21, a CPU"


def measured(path: Path, **environment: object) -> str:
    """A result whose best load had requests of 128 + 64 tokens."""
    loads = [
        {
            "load": {"label": label},
            "metrics": {"output_tokens_per_s": rate},
            "requests": {"ok": 50},
            "tokens": {"input": 50 * prompt, "output": 50 * answer},
        }
        for label, rate, prompt, answer in (("1 client", 9.0, 9, 9), ("8 clients", 80.0, 128, 64))
    ]
    found = {"format": "trtbuild-bench/1", "targets": [{"name": "m", "loads": loads}]}
    path.write_text(json.dumps(found | ({"environment": environment} if environment else {})))
    return str(path)


def priced(*args: str) -> dict[str, Any]:
    shown = CliRunner().invoke(app, ["cost", *args, "--json"], catch_exceptions=False)
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


def test_a_measured_throughput_is_of_the_requests_it_was_measured_with(tmp_path: Path) -> None:
    file = measured(tmp_path / "r.json", gpus=["NVIDIA L4"])
    found = priced("--result", file, "--gpu", "l4", "--api", "1/2")
    assert found["mix"] == {"input": 128, "output": 64}
    # 128 x 1 + 64 x 2 dollars a million requests
    (api,) = found["comparisons"]
    assert api["per_thousand_requests"] == pytest.approx(0.256)
    per_request = found["own"]["per_million_output"] * 64 / 1e6
    assert api["ratio"] == pytest.approx(per_request / 0.000256)
    assert found["notes"] == []


def test_a_measured_throughput_says_what_it_is_not(tmp_path: Path) -> None:
    file = measured(tmp_path / "r.json", cpu="a CPU", gpus=[])
    other, without = priced("--result", file, "--input-tokens", "1000")["notes"]
    assert "measured with requests of 128 + 64 tokens" in other
    assert (
        without == "the benchmark ran on a machine without a GPU; the price is for H100 SXM 80 GB"
    )
    assert priced("--throughput", "5", "--result", file)["notes"] == []
    assert priced("--throughput", "5")["mix"] == {"input": 1000, "output": 300}


def test_a_result_without_an_environment_is_priced(tmp_path: Path) -> None:
    found = priced("--result", measured(tmp_path / "r.json"))
    assert found["deployment"]["source"] == "measured: m at 8 clients"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "the throughput of the deployment is unknown"),
        (["--throughput", "0"], "the throughput is 0"),
        (["--throughput", "-5"], "the throughput is -5"),
        (["--throughput", "nan"], "the throughput is nan"),
        (["--throughput", "inf"], "the throughput is inf"),
        (["--throughput", "5", "--gpu-price", "inf"], "the price is inf"),
        (["--throughput", "5", "--api", "nan/1"], "'nan/1' is not a price"),
        (["--throughput", "5", "--api", "1/inf"], "'1/inf' is not a price"),
        (["--throughput", "5", "--utilization", "nan"], "utilization is nan"),
        (["--throughput", "5", "--utilization", "0"], "utilization is 0"),
        (["--throughput", "5", "--utilization", "1.2"], "utilization is 1.2"),
        (["--throughput", "5", "--gpu", "h999"], "unknown GPU 'h999'"),
        (["--throughput", "5", "--gpu", "gb300"], "unknown price of 'gb300'"),
        (["--throughput", "5", "--api", "gpt-5-mni"], "unknown API price 'gpt-5-mni'"),
        (["--throughput", "5", "--api", "-1/2"], "negative price"),
        (["--throughput", "5", "--dtype", "int3"], "unknown dtype 'int3'"),
        (["--result", "/nowhere.json"], "cannot read /nowhere.json"),
    ],
)
def test_what_cannot_be_priced(args: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["cost", *args])
    assert isinstance(result.exception, UsageError)
    assert said in result.exception.what
    assert result.exception.fix

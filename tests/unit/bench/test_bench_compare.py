"""Two results side by side: verdicts beyond chance, refusals, and the exit code for CI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from trtbuild.cli.app import app
from trtbuild.errors import BenchError, UsageError
from trtbuild_measure.bench.regression import compare_results


def result(
    ttft: float, rate: float, *, spread: float = 0.01, requests: int = 500
) -> dict[str, Any]:
    def latency(value: float) -> dict[str, Any]:
        parts = ("mean", "p50", "p90", "p95", "p99")
        interval = dict.fromkeys(parts, (value * (1 - spread), value * (1 + spread)))
        return {**dict.fromkeys(parts, value), "interval": interval}

    names = ("ttft_ms", "itl_ms", "tpot_ms", "e2e_ms")
    metrics = {name: latency(ttft) for name in names}
    metrics |= {"output_tokens_per_s": rate, "requests_per_s": rate / 10}
    load = {
        "load": {"label": "4 clients"},
        "metrics": metrics,
        "requests": {"ok": requests, "failed": 0, "measured": requests},
        "tokens": {"output": requests * 10, "echoes": 0},
    }
    target = {"name": "a", "precision": "bfloat16", "loads": [load]}
    settings = {"prompts": {"seed": 0}, "generation": {}}
    environment = {"cpu": "x", "cores": 2, "gpus": []}
    return {"targets": [target], "environment": environment, "settings": settings, "partial": ""}


@pytest.mark.parametrize(
    ("ttft", "rate", "spread", "latency", "throughput"),
    [
        (100, 1000, 0.01, "same", "same"),
        (120, 1000, 0.01, "worse", "same"),
        (100, 800, 0.01, "same", "worse"),
        (80, 1200, 0.01, "better", "better"),
        (120, 1000, 0.3, "unclear", "unclear"),
    ],
)
def test_a_regression_is_beyond_doubt(
    ttft: float, rate: float, spread: float, latency: str, throughput: str
) -> None:
    found = compare_results(result(100, 1000), result(ttft, rate, spread=spread), 0.05)
    verdicts = {row["metric"]: row["verdict"] for row in found["rows"]}
    assert verdicts["ttft_ms p50"] == verdicts["e2e_ms p99"] == latency
    assert verdicts["output_tokens_per_s"] == throughput


def test_a_p99_of_few_requests_is_not_judged() -> None:
    found = compare_results(result(100, 1000, requests=50), result(100, 1000), 0.05)
    assert not [row for row in found["rows"] if row["metric"].endswith("p99")]


def test_a_comparison_tells_what_was_not_the_same() -> None:
    other = result(100, 1000)
    other["environment"]["cpu"] = "y"
    other["partial"] = "interrupted"
    other["targets"][0]["name"] = "b"
    notes = "\n".join(compare_results(result(100, 1000), other, 0.05)["notes"])
    for part in ("cpu x and y", "is partial: interrupted", "a was not measured"):
        assert part in notes


def failing(count: int, requests: int = 500) -> dict[str, Any]:
    """A result of which ``count`` requests failed, the others as fast as ever."""
    found = result(100, 1000, requests=requests - count)
    load = found["targets"][0]["loads"][0]
    load["requests"] |= {"failed": count, "measured": requests}
    if count == requests:
        load["metrics"] = dict.fromkeys(load["metrics"])
    return found


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [(0, 500, "worse"), (0, 40, "worse"), (40, 0, "better"), (0, 1, "unclear"), (9, 11, "unclear")],
)
def test_requests_that_fail_are_a_regression(before: int, after: int, verdict: str) -> None:
    found = compare_results(failing(before), failing(after), 0.05)
    row = next(row for row in found["rows"] if row["metric"] == "failed requests")
    assert (row["before"], row["after"], row["verdict"]) == (before / 500, after / 500, verdict)
    none = compare_results(failing(0), failing(0), 0.05)["rows"]
    assert not [row for row in none if row["metric"] == "failed requests"]


def within(share: float, requests: int = 500, **slo: float) -> dict[str, Any]:
    """A result in which that share of requests met the SLO."""
    found = result(100, 1000, requests=requests)
    goodput = {"slo": slo or {"ttft_ms": 200}, "share": share}
    found["targets"][0]["loads"][0] |= {"goodput": goodput}
    return found


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [(1, 0.9, "worse"), (0.9, 1, "better"), (0.99, 0.98, "unclear"), (0, 0, "unclear")],
)
def test_fewer_requests_within_the_slo_are_a_regression(
    before: float, after: float, verdict: str
) -> None:
    found = compare_results(within(before), within(after), 0.05)
    row = next(row for row in found["rows"] if row["metric"] == "requests within the SLO")
    assert (row["before"], row["after"], row["verdict"]) == (before, after, verdict)
    assert found["notes"] == []


def test_other_objectives_are_told_and_not_compared() -> None:
    for after, told in (
        (within(0.1, ttft_ms=300, itl_ms=20.5), "ttft=200ms and ttft=300ms,itl=20.5ms"),
        (result(100, 1000, requests=500), "ttft=200ms and none"),
    ):
        found = compare_results(within(1), after, 0.05)
        assert found["notes"] == [
            f"a, 4 clients: the objectives differ ({told}), so nothing is said of them"
        ]
        assert not [row for row in found["rows"] if "SLO" in row["metric"]]


def test_a_figure_that_is_gone_is_told() -> None:
    after = result(100, 1000)
    after["targets"][0]["loads"][0]["metrics"]["itl_ms"] = None
    notes = compare_results(result(100, 1000), after, 0.05)["notes"]
    assert notes == ["a, 4 clients: no itl_ms the second time"]


def test_a_handful_of_requests_proves_nothing() -> None:
    """One request has an interval without a width; it is not certainty."""
    one, other = (result(ttft, 1000, spread=0, requests=3) for ttft in (100, 300))
    found = compare_results(one, other, 0.05)
    assert {row["verdict"] for row in found["rows"]} == {"unclear"}
    assert "too few requests" in found["notes"][0]


def changed(**change: Any) -> dict[str, Any]:
    found = result(100, 1000)
    found["settings"] |= change.get("settings", {})
    found["environment"] |= change.get("environment", {})
    found["targets"][0] |= change.get("target", {})
    found["targets"][0]["loads"][0]["tokens"] |= change.get("tokens", {})
    return found


UNLIKE = {
    "prompts": {"settings": {"prompts": {"seed": 1}}},
    "sampling": {"settings": {"generation": {"temperature": 1.0}}},
    "tokenizer": {"environment": {"tokenizer": "bb"}},
    "precision": {"target": {"precision": "float16"}},
    "lengths": {"tokens": {"output": 6000}},
    "echo": {"tokens": {"echoes": 500}},
}


@pytest.mark.parametrize("kind", UNLIKE)
def test_results_that_are_not_alike_are_refused(kind: str) -> None:
    before = changed(environment={"tokenizer": "aa"})
    after = changed(**({"environment": {"tokenizer": "aa"}} | UNLIKE[kind]))
    found = compare_results(before, after, 0.05)
    assert [one["kind"] for one in found["refused"]] == [kind]
    assert found["rows"] == []
    accepted = compare_results(before, after, 0.05, [kind])
    assert accepted["refused"] == [] and accepted["rows"]
    assert found["refused"][0]["text"] in accepted["notes"]


def of_file(name: str, content: str) -> dict[str, Any]:
    prompts = {"prompts": {"seed": 0, "file": name}}
    return changed(settings=prompts, environment={"prompts": content})


def test_a_file_of_prompts_is_known_by_what_it_holds() -> None:
    """The same name with other lines is another load; the same lines elsewhere are not."""
    before = of_file("a/p.jsonl", "11")
    other = compare_results(before, of_file("a/p.jsonl", "22"), 0.05)
    assert [one["kind"] for one in other["refused"]] == ["prompts"]
    assert not compare_results(before, of_file("b/p.jsonl", "11"), 0.05)["refused"]
    unknown = of_file("b/p.jsonl", "")
    assert compare_results(before, unknown, 0.05)["refused"], "a result that tells no content"


def written(path: Path, found: dict[str, Any]) -> str:
    path.write_text(json.dumps({"format": "trtbuild-bench/1", **found}))
    return str(path)


def compared(*args: str) -> Any:
    return CliRunner().invoke(app, ["bench", "compare", *args])


def test_the_command_refuses_and_says_how_to_go_on(tmp_path: Path) -> None:
    files = [
        written(tmp_path / "a.json", result(100, 1000)),
        written(tmp_path / "b.json", changed(**UNLIKE["precision"])),
    ]
    refused = compared(*files)
    assert isinstance(refused.exception, BenchError)
    assert refused.exception.details == ("a computes in bfloat16 and float16",)
    assert "--allow precision" in refused.exception.fix
    assert compared(*files, "--allow", "precision").exit_code == 0
    unknown = compared(*files, "--allow", "colour")
    assert isinstance(unknown.exception, UsageError) and "precision" in unknown.exception.fix


def test_nothing_in_common_is_no_success(tmp_path: Path) -> None:
    files = [
        written(tmp_path / "a.json", result(100, 1000)),
        written(tmp_path / "b.json", changed(target={"name": "b"})),
    ]
    found = compared(*files)
    assert isinstance(found.exception, UsageError)
    assert "no figure in common" in found.exception.what
    assert found.exception.details == ("a was not measured the second time",)


def test_every_request_failing_ends_the_command_with_8(tmp_path: Path) -> None:
    files = [
        written(tmp_path / "a.json", failing(0)),
        written(tmp_path / "b.json", failing(500)),
    ]
    found = compared(*files)
    assert isinstance(found.exception, BenchError) and found.exception.exit_code == 8
    assert any("failed requests 0 → 1" in text for text in found.exception.details)


def test_compare_is_a_command(tmp_path: Path) -> None:
    one = written(tmp_path / "a.json", result(100, 1000))
    other = written(tmp_path / "b.json", result(150, 1000))
    assert compared(one, one).exit_code == 0
    worse = compared(one, other)
    assert isinstance(worse.exception, BenchError)
    assert "are worse by more than 5 %" in worse.exception.what
    (tmp_path / "c.json").write_text("{}")
    wrong = compared(one, str(tmp_path / "c.json"))
    assert isinstance(wrong.exception, UsageError)
    assert "is not a benchmark result" in wrong.exception.what


@pytest.mark.parametrize("width", [46, 80, 120])
def test_no_figure_of_a_comparison_is_cut(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    one, other = result(123.4, 1234), result(123.4, 1234)
    for found in (one, other):
        found["targets"][0]["name"] = "[b]a-model (openai)"
    shown = compared(written(tmp_path / "a.json", one), written(tmp_path / "b.json", other)).output
    assert "[b]a-model (openai), 4 clients" in " ".join(shown.split())
    assert "…" not in shown
    assert shown.count("123.4") == 2 * (12 + 1), "twelve latencies and a rate, twice"
    if width >= 80:
        assert "ttft_ms p50" in shown and "0.986–1.014" in shown

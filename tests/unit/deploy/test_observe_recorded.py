"""Every alert that a server without a GPU can give, on what real servers showed through faults.

``promtool`` replays the recorded pages: 10 minutes as healthy, then as in the fault.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.deployments import deployable
from support.expositions import Sample, State, recorded
from support.observing import REHEARSED, rules_of
from support.prometheus import run_tool, selectors
from trtbuild_deploy.jobs.render import render, write

pytestmark = pytest.mark.network

IMAGE = REHEARSED.replace("gpu: {mode: none}", "")
STEPS = 40  # of 15 s before a fault, and twice as many after its beginning
FAULT = STEPS // 4  # minutes
# state, minutes after which exactly these alerts fire where the metrics for them exist
STATES: list[tuple[str, int, set[str]]] = [
    ("healthy", 20, set()),
    ("idle", 20, set()),
    ("failing", 4, {"TritonErrors"}),
    ("overload", 7, {"TritonQueueLong"}),
    # Triton refuses new requests soon after a stub stops, and the open ones stay open.
    ("stalled", 5, {"TritonEngineDead", "TritonEngineStuck", "TritonErrors"}),
    ("killed", 5, {"TritonEngineDead", "TritonEngineStuck", "TritonErrors"}),
    ("gone", 6, {"TritonScrapeFailed", "TritonUnseen", "TritonEngineUnseen", "TritonErrors"}),
]


def replayed(state: State, families: Collection[str]) -> dict[str, str]:
    """The series of a timeline, as promtool writes them, of what a deployment exports."""
    healthy = recorded("healthy")
    found: dict[str, str] = {}
    for job in healthy:
        target = f'up{{instance="{job}:1",job="{job}"}}'
        found[target] = f"1x{STEPS} {int(job in state)}x{2 * STEPS}"
        before, after = healthy[job], state.get(job, {})
        for series in sorted({*before, *after}):
            name = series.partition("{")[0]
            if not {name, re.sub(r"_(bucket|count)$", "", name)} & {*families}:
                continue
            found[series] = values(before.get(series), after.get(series))
    return found


def values(healthy: Sample | None, then: Sample | None) -> str:
    """A series: a counter goes on with what it gained between its two pages, a gauge stays."""
    begin = f"_x{STEPS}"
    last = then.before if then and then.before is not None else 0.0
    if healthy is not None:
        gain = gained(healthy)
        begin = f"{healthy.after:g}+{gain:g}x{STEPS}"
        last = healthy.after + gain * STEPS
    if then is None:
        return f"{begin} stale"
    gain = gained(then)
    return f"{begin} {last + gain if then.counts else then.after:g}+{gain:g}x{2 * STEPS}"


def gained(sample: Sample) -> float:
    if not sample.counts:
        return 0
    return sample.after - (sample.before or 0)


def firing(minute: int, alerts: set[str]) -> dict[str, Any]:
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(alerts)]
    expr = 'group by (alertname) (ALERTS{alertstate="firing"})'
    return {"expr": expr, "eval_time": f"{minute}m", "exp_samples": samples}


@pytest.mark.parametrize("settings", [REHEARSED, IMAGE], ids=["embedded", "image"])
def test_each_fault_fires_its_alerts_and_no_other(tmp_path: Path, settings: str) -> None:
    """NVIDIA's image exports some of the embedded server's families, so their pages are here."""
    (tmp_path / "deploy.yaml").write_text(settings)
    deployment = render("observe", deployable(tmp_path), tmp_path / "deploy.yaml")
    write(deployment, tmp_path)
    place = "image" if settings == IMAGE else "embedded"
    families = deployment.facts.metrics(gateway=True, place=place).families
    rules = yaml.safe_load((tmp_path / "rules.yaml").read_text())["groups"]
    written = {rule["alert"] for group in rules for rule in group["rules"] if "alert" in rule}
    tests = [
        {
            "name": name,
            "interval": "15s",
            "input_series": [
                {"series": series, "values": text}
                for series, text in replayed(recorded(name), families).items()
            ],
            "promql_expr_test": [firing(FAULT, set()), firing(FAULT + minutes, alerts & written)],
        }
        for name, minutes, alerts in STATES
    ]
    wanted = {"rule_files": ["rules.yaml"], "evaluation_interval": "15s", "tests": tests}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(wanted))
    done = run_tool("promtool", "test", "rules", tmp_path / "tests.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_series_and_label_of_a_rule_was_recorded(tmp_path: Path) -> None:
    shown: dict[str, set[str]] = {}
    for name, *_ in STATES:
        for page in recorded(name).values():
            for series in page:
                shown.setdefault(series.partition("{")[0], set()).update(
                    re.findall(r'(\w+)="', series)
                )
    rules = rules_of(deployable(tmp_path), tmp_path)
    records = {rule["record"] for rule in rules if "record" in rule}
    for rule in rules:
        grouped = set(re.findall(r"\w+", " ".join(re.findall(r"by \((.*?)\)", rule["expr"]))))
        for name, labels in selectors(rule["expr"]):
            if name != "up" and name not in records:
                assert labels | grouped <= shown[name], rule["expr"]

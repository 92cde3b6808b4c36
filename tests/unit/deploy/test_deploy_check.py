"""Checking offline: what trtbuild writes has no finding, and edits that break it have."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from support.command_line import trtbuild
from support.deployments import deployable
from support.kubernetes import helm
from trtbuild.check import Severity
from trtbuild_deploy.jobs.checking import check
from trtbuild_deploy.jobs.render import render, write

GATEWAY = "gateway: {enabled: true, image: example/gateway:1}\n"
SCALED = f"autoscaling: {{kind: keda}}\nmonitoring: {{kind: podMonitor}}\n{GATEWAY}"


def written(folder: Path, target: str, settings: str = "replicas: 1\n") -> Path:
    (folder / "deploy.yaml").write_text(settings)
    write(render(target, deployable(folder), folder / "deploy.yaml"), folder / "out")
    return folder / "out"


def test_the_compose_files_have_no_finding(tmp_path: Path) -> None:
    checked = check(written(tmp_path, "compose"))
    assert checked.findings == ()
    assert "compose.yaml" in checked.looked_at


def test_a_broken_compose_file_has(tmp_path: Path) -> None:
    out = written(tmp_path, "compose")
    path = out / "compose.yaml"
    document = yaml.safe_load(path.read_text())
    server = document["services"]["server"]
    server |= {"stop_grace_period": "10s", "shm_size": "16g"}
    server["healthcheck"]["start_period"] = "1m"
    path.write_text(yaml.safe_dump(document))
    done = trtbuild("deploy", "check", out, "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 6
    assert sorted(one["rule"] for one in found["findings"]) == ["DEP102", "DEP105", "DEP106"]
    assert found["edited"] == ["compose.yaml"]
    shown = trtbuild("deploy", "check", out)
    assert "edited by hand: compose.yaml" in shown.stdout
    assert "rule" not in shown.stderr


def test_a_comment_hides_a_finding(tmp_path: Path) -> None:
    text = "services: # trtbuild: ignore[DEP104]\n"
    text += "  s: {image: i, command: tritonserver, stop_grace_period: 60s}\n"
    (tmp_path / "compose.yaml").write_text(text)
    assert {found.rule for found in check(tmp_path).findings} == {"DEP104"}
    text = text.replace(
        "stop_grace_period: 60s}", "stop_grace_period: 60s} # trtbuild: ignore[DEP104]"
    )
    (tmp_path / "compose.yaml").write_text(text)
    assert check(tmp_path).findings == ()


@pytest.mark.parametrize("text", ["a: [", "\0", "a: 1\n---\n- {b: !!python/none x}\n"])
def test_a_file_that_cannot_be_read_is_a_finding(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    (found,) = check(tmp_path).findings
    assert found.rule == "DEP000"
    assert "a.yaml cannot be judged" in found.message


@pytest.mark.parametrize(
    "text",
    [
        f"services: {{a: {{command: [tritonserver, --exit-timeout-secs={'9' * 5000}], "
        f"mem_limit: '{'9' * 400}', labels: {{trtbuild.dev/load-seconds: '{'9' * 5000}'}}}}}}\n",
        "services: {a: null, b: 3, c: [x], d: {healthcheck: 7, command: {}}}\n",
        "kind: Pod\nmetadata: {labels: x, annotations: [y]}\nspec: {containers: [null, 3]}\n",
        "kind: Deployment\nspec: {template: {metadata: {labels: x, annotations: y}, spec: {"
        "volumes: [{name: [a]}], containers: [{args: [tritonserver], "
        "volumeMounts: [{name: {b: c}}]}]}}}\n",
    ],
)
def test_what_has_another_shape_is_no_crash(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    assert check(tmp_path).looked_at == ("a.yaml",)


def test_a_directory_without_files_is_an_error(tmp_path: Path) -> None:
    assert trtbuild("deploy", "check", tmp_path).returncode == 2
    done = trtbuild("deploy", "check", tmp_path / "none")
    assert done.returncode == 2
    assert "is not a directory" in done.stderr


def test_without_helm_only_the_values_of_a_chart_are_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = written(tmp_path, "helm")
    monkeypatch.setenv("PATH", str(tmp_path))
    done = trtbuild("deploy", "check", out)
    assert done.returncode == 0
    assert "helm is not on the PATH" in done.stdout
    assert "values.yaml, values-dev.yaml" in done.stdout
    (out / "values.yaml").write_text((out / "values.yaml").read_text() + "replica: 2\n")
    (out / "values-dev.yaml").write_text("server: {preStop: soon}\n")
    (out / "values-prod.yaml").write_text("- replicas\n")
    errors = [one for one in check(out).findings if one.severity is Severity.ERROR]
    said = {one.file: (one.line, one.message) for one in errors}
    assert sorted(said) == ["values-dev.yaml", "values-prod.yaml", "values.yaml"]
    assert said["values.yaml"][0] == len((out / "values.yaml").read_text().splitlines())
    assert "'replicas'" in said["values.yaml"][1]
    assert said["values-dev.yaml"][0] == 1
    assert "server.preStop" in said["values-dev.yaml"][1]
    (out / "chart/values.schema.json").write_text("{}")  # somebody else's chart
    assert {one.severity for one in check(out).findings} == {Severity.WARNING}


@pytest.mark.network
def test_the_chart_has_no_finding_until_it_is_edited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{helm().parent}{os.pathsep}{os.environ['PATH']}")
    out = written(tmp_path, "helm", SCALED)
    checked = check(out)
    assert checked.findings == ()
    assert "chart with values-prod.yaml" in checked.looked_at
    for overlay in out.glob("values-*.yaml"):
        overlay.unlink()
    values = yaml.safe_load((out / "values.yaml").read_text())
    workload = values["workload"]
    workload["memory"] = "512Mi"
    workload["startup"]["failures"] = 3
    workload["scaling"]["query"] = "sum(vllm:num_requests_waiting)"
    values["server"]["preStop"] = 0
    (out / "values.yaml").write_text(yaml.safe_dump(values))
    broken = check(out)
    assert {one.rule for one in broken.findings} == {"DEP101", "DEP105", "DEP106", "DEP301"}
    assert broken.edited == ("values.yaml",)
    values["server"]["preStpo"] = 1
    (out / "values.yaml").write_text(yaml.safe_dump(values))
    assert any("preStpo" in one.message for one in check(out).findings)


@pytest.mark.parametrize(("builder", "case", "said"), [("vllm", "plain", 1), ("onnx", "embed", 0)])
def test_triton_s_counters_are_refused_only_where_they_miss_failures(
    tmp_path: Path, builder: str, case: str, said: int
) -> None:
    (tmp_path / "deploy.yaml").write_text("replicas: 1\n")
    repo = deployable(tmp_path, builder, case)
    write(render("compose", repo, tmp_path / "deploy.yaml"), tmp_path / "out")
    alert = {"alert": "Errors", "expr": "rate(nv_inference_request_failure[5m]) > 1"}
    own = {"groups": [{"name": "own", "rules": [alert]}]}
    (tmp_path / "out/own.yaml").write_text(yaml.safe_dump(own))
    assert [one.rule for one in check(tmp_path / "out").findings] == ["OBS103"] * said

"""Argo's objects: their CRDs, what a version is judged by, and the applications."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from support.deployments import deployable
from support.kubernetes import require_valid
from trtbuild.errors import TrtbuildError
from trtbuild_deploy.facts import known_families
from trtbuild_deploy.jobs.checking import check
from trtbuild_deploy.jobs.render import render, write
from trtbuild_deploy.resources import data_file

BASE = """
name: chat
gateway: {enabled: true, image: "example/gateway:1"}
route: {parents: [public], namespace: infra, hostnames: [chat.example.org]}
gate: {image: "example/trtbuild:1", slo: "ttft=2s,tpot=100ms"}
"""
FULL = (
    BASE.replace('tpot=100ms"}', 'tpot=100ms", golden: golden, key: {name: key, key: token}}')
    + """
replicas: 2
weights: {path: v2}
server: {pullSecrets: [registry]}
argo: {repository: "https://git.example.org/ops.git", path: chat/argo}
environments:
  prod: {replicas: 6}
"""
)


def files(root: Path, settings: str, builder: str = "vllm", case: str = "plain") -> dict[str, Any]:
    file = root / "deploy.yaml"
    file.write_text(settings)
    found = {}
    for one in render("argo", deployable(root, builder, case), file).files:
        if one.path.endswith(".yaml") and not one.path.startswith("chart/"):
            documents = list(yaml.safe_load_all(one.content))
            found[one.path] = documents if len(documents) > 1 else documents[0]
    return found


def objects(found: dict[str, Any], environment: str) -> dict[str, Any]:
    return {
        f"{one['kind']}/{one['metadata']['name']}": one
        for one in found[f"{environment}/rollout.yaml"]
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("builder", "case", "settings"),
    [
        ("vllm", "plain", FULL),
        ("trtllm", "plain", BASE + "argo: {strategy: blueGreen}\nweights: {size: 16Gi}\n"),
        ("onnx", "embed", BASE + "weights: {from: image, reference: 'i:1'}\n"),
    ],
)
def test_every_object_is_what_the_cluster_takes(
    tmp_path: Path, builder: str, case: str, settings: str
) -> None:
    found = objects(files(tmp_path, settings, builder, case), "prod")
    for one in found.values():
        require_valid(one, "1.34")
    job = found["AnalysisTemplate/chat-gate"]["spec"]["metrics"][0]["provider"]["job"]["spec"]
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": job}
    require_valid(job, "1.34")


def test_the_rules_find_nothing(tmp_path: Path) -> None:
    (tmp_path / "deploy.yaml").write_text(FULL)
    write(render("argo", deployable(tmp_path), tmp_path / "deploy.yaml"), tmp_path / "out")
    checked = check(tmp_path / "out")
    assert "prod/rollout.yaml" in checked.looked_at
    assert [one for one in checked.findings if "helm is not on the PATH" not in one.message] == []


def test_the_rollout_has_the_pods_and_the_chart_none(tmp_path: Path) -> None:
    found = files(tmp_path, FULL)
    assert found["values.yaml"]["replicas"] == 0
    assert "replicas" not in found["values-prod.yaml"]
    assert found["values.yaml"]["route"]["parents"] == []
    for environment, replicas in (("staging", 2), ("prod", 6)):
        rollout = objects(found, environment)["Rollout/chat"]["spec"]
        assert rollout["replicas"] == replicas
        assert rollout["workloadRef"]["name"] == "chat"
        plugin = rollout["strategy"]["canary"]["trafficRouting"]["plugins"]
        assert plugin["argoproj-labs/gatewayAPI"]["namespace"] == f"chat-{environment}"


def test_the_pods_have_the_labels_of_the_chart_and_its_gateway_comes_in(tmp_path: Path) -> None:
    settings = BASE + "environments: {prod: {route: {parents: [internal]}}}\n"
    found = files(tmp_path, settings)
    selector = objects(found, "prod")["Rollout/chat"]["spec"]["selector"]["matchLabels"]
    chart = yaml.safe_load(data_file("chart", "Chart.yaml").read_bytes())["name"]
    assert selector == {"app.kubernetes.io/name": chart, "app.kubernetes.io/instance": "chat"}
    assert found["values.yaml"]["route"]["namespace"] == "infra"
    assert "route" not in found["values-prod.yaml"]  # the Rollout has it
    (parent,) = objects(found, "prod")["HTTPRoute/chat"]["spec"]["parentRefs"]
    assert parent == {"name": "internal", "namespace": "infra"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("", "nothing here scrapes for the analysis"),
        ("namespace: infra, ", "admits only the namespace"),
    ],
)
def test_what_nothing_can_see_or_reach_is_said(tmp_path: Path, more: str, said: str) -> None:
    (tmp_path / "deploy.yaml").write_text(BASE.replace(more, "") if more else BASE)
    notes = render("argo", deployable(tmp_path), tmp_path / "deploy.yaml").rendered.notes
    assert any(said in note for note in notes)


def test_a_canary_is_asked_before_it_gets_requests(tmp_path: Path) -> None:
    found = objects(files(tmp_path, FULL), "prod")
    canary = found["Rollout/chat"]["spec"]["strategy"]["canary"]
    steps = [next(iter(step)) for step in canary["steps"]]
    assert steps.index("analysis") < steps.index("setWeight")
    assert steps[canary["analysis"]["startingStep"]] == "pause"
    assert [one["setWeight"] for one in canary["steps"] if "setWeight" in one] == [5, 25, 50]
    pod = found["AnalysisTemplate/chat-gate"]["spec"]["metrics"][0]["provider"]["job"]["spec"]
    pod = pod["template"]["spec"]
    (verify,), (bench,) = pod["initContainers"], pod["containers"]
    assert "chat-canary:8000" in verify["args"]
    assert verify["args"][-2:] == ["--golden", "/etc/golden/golden.jsonl"]
    assert bench["args"][3:8] == [
        "openai:http://chat-canary:9000/v1#llama", "--slo", "ttft=2s,tpot=100ms",
        "--min-in-slo", "0.95",
    ]  # fmt: skip
    assert bench["volumeMounts"][0]["subPath"] == "v2"
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert bench["env"][1]["valueFrom"]["secretKeyRef"] == {"name": "key", "key": "token"}


def test_the_analysis_asks_for_metrics_that_exist(tmp_path: Path) -> None:
    found = objects(files(tmp_path, FULL), "prod")
    metrics = {
        one["name"]: one for one in found["AnalysisTemplate/chat-metrics"]["spec"]["metrics"]
    }
    assert set(metrics) == {"errors", "dead-engine", "first-token", "stuck", "slower"}
    slower = metrics.pop("slower")
    # Without users the stable version has nothing to compare with.
    assert slower["successCondition"].startswith("!(len(result) > 0")
    assert 'pod=~"chat-{{args.stable}}-.+"' in slower["provider"]["prometheus"]["query"]
    for one in metrics.values():
        query = one["provider"]["prometheus"]["query"]
        assert any(family in query for family in known_families())
        assert 'pod=~"chat-{{args.hash}}-.+"' in query
        # Nothing seen is neither good nor bad.
        assert one["successCondition"].startswith("len(result) > 0 && !isNaN(result[0])")
        assert one["failureCondition"].startswith("len(result) > 0 && !isNaN(result[0])")
        assert "count" not in one
    assert metrics["errors"]["failureCondition"].endswith("> 0.01")


def test_blue_and_green_are_measured_before_the_old_one_goes(tmp_path: Path) -> None:
    found = objects(files(tmp_path, BASE + "argo: {strategy: blueGreen}\n"), "prod")
    strategy = found["Rollout/chat"]["spec"]["strategy"]["blueGreen"]
    metric = found["AnalysisTemplate/chat-metrics"]["spec"]["metrics"][0]
    measured = 60 + 30 * metric["count"]
    assert strategy["scaleDownDelaySeconds"] >= measured + 105
    (ref,) = found["HTTPRoute/chat"]["spec"]["rules"][0]["backendRefs"]
    assert ref["name"] == strategy["activeService"]


def test_each_environment_is_an_application(tmp_path: Path) -> None:
    found = files(tmp_path, FULL)
    for file in ("application.yaml", "applicationset.yaml"):
        require_valid(found[file], "1.34")
    several = found["applicationset.yaml"]["spec"]
    elements = several["generators"][0]["list"]["elements"]
    assert [one["environment"] for one in elements] == ["dev", "staging", "prod"]
    single = found["application.yaml"]["spec"]
    assert single["destination"]["namespace"] == "chat-prod"
    text = yaml.safe_dump(several["template"]["spec"]).replace("{{.environment}}", "prod")
    assert yaml.safe_load(text) == single
    helm, rollout = single["sources"]
    assert helm["helm"]["valueFiles"] == ["../values.yaml", "../values-prod.yaml"]
    assert rollout["path"] == "chat/argo/prod"
    (tmp_path / "without").mkdir()
    assert "application.yaml" not in files(tmp_path / "without", BASE)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("name: chat\n", "no version could be judged"),
        (BASE.replace("parents: [public]", "parents: []"), "name the Gateway"),
        (BASE.replace(', slo: "ttft=2s,tpot=100ms"', ""), "'gate.slo'"),
        (BASE + "autoscaling: {kind: keda}\n", "would scale the chart's Deployment"),
        (BASE + "gpu: {count: 16}\n", "not of several nodes"),
        (BASE + "weights: {from: s3, reference: 's3://b', image: 'i:1'}\n", "the gate reads"),
        (BASE + "argo: {steps: [50, 5]}\n", "must rise"),
        (BASE.replace('gateway:1"', 'gateway:1", keys: {name: a, key: b}'), "'gate.key'"),
    ],
)
def test_what_argo_cannot_do_is_refused(tmp_path: Path, settings: str, said: str) -> None:
    with pytest.raises(TrtbuildError) as caught:
        files(tmp_path, settings)
    assert said in " ".join((caught.value.what, *caught.value.details))
    assert caught.value.exit_code == 4

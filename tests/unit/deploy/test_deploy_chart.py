"""The chart, rendered by the real helm: every object is what Kubernetes takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.deployments import deployable
from support.kubernetes import rendered, require_valid, run_helm
from trtbuild.check.running import run_on_file
from trtbuild_deploy.jobs.render import render, write
from trtbuild_deploy.rules.view import Document, files_of

pytestmark = pytest.mark.network

GATEWAY = "gateway: {enabled: true, image: example/gateway:1}\n"
RAY = {
    "distributed_executor_backend": "ray",
    "tensor_parallel_size": 8,
    "pipeline_parallel_size": 2,
}
KEDA = f"autoscaling: {{kind: keda}}\nmonitoring: {{kind: podMonitor}}\n{GATEWAY}"
HPA = (
    f"autoscaling: {{kind: hpa}}\nmonitoring: {{kind: serviceMonitor, labels: {{a: b}}}}\n{GATEWAY}"
)
ROUTE = "route: {parents: [public], namespace: infra, hostnames: [a.example.org]}\n"
EVERYTHING = """
server:
  env: {A: "{{ .Release }} $x \\n: *a"}
  secrets: {HF_TOKEN: {name: hf, key: token}}
  nodeSelector: {gpu: "true"}
  tolerations: [{key: gpu, effect: NoSchedule}]
  runtimeClass: nvidia
  pullSecrets: [registry]
  readOnlyRootFilesystem: false
  strategy: recreate
network: {clients: [web], egress: any}
tracing: {url: "http://collector.observe:4318/v1/traces"}
"""
S3 = """
weights:
  from: s3
  reference: s3://b/p
  image: amazon/aws-cli:2.31.0
  secret: s3
  endpoint: https://s3.example.org
"""
HUB = f"weights: {{from: hub, reference: a/b@{'0' * 40}}}\n"
IMAGE = "weights: {from: image, reference: example/models:1}\n"
DRA = (
    'gpu: {mode: dra, selectors: [\'device.attributes["gpu.nvidia.com"].productName == "H200"\']}\n'
)

CASES: list[tuple[str, str, dict[str, Any], str, tuple[str, ...]]] = [
    # builder, case, engine arguments, deploy.yaml, versions of Kubernetes
    ("vllm", "plain", {}, "", ("1.30", "1.34", "1.37")),
    ("vllm", "plain", {"tensor_parallel_size": 2}, EVERYTHING, ("1.30", "1.37")),
    ("vllm", "plain", RAY, f"{KEDA}weights: {{cacheClaim: c}}\n", ("1.34",)),
    ("vllm", "plain", {}, "gpu: {mode: mig, profile: 1g.10gb}\n" + S3, ("1.30",)),
    ("vllm", "plain", {}, "gpu: {mode: shared}\n" + HUB + ROUTE, ("1.34",)),
    ("vllm", "plain", {}, DRA + IMAGE, ("1.34", "1.37")),
    ("trtllm", "everything", {}, "weights: {size: 16Gi}\n" + HPA + ROUTE, ("1.37",)),
    ("trtllm-engine", "balanced", {}, KEDA, ("1.30",)),
    ("onnx", "embed", {}, "gpu: {mode: none}\nnetwork: {policy: false}\n", ("1.37",)),
]


def written(folder: Path, builder: str, case: str, engine: dict[str, Any], settings: str) -> Path:
    repo = deployable(folder, builder, case, settings={"engine": engine})
    (folder / "deploy.yaml").write_text(settings or "replicas: 1\n")
    write(render("helm", repo, folder / "deploy.yaml"), folder / "out")
    return folder / "out"


@pytest.mark.parametrize(("builder", "case", "engine", "settings", "versions"), CASES)
def test_every_object_is_valid(
    tmp_path: Path,
    builder: str,
    case: str,
    engine: dict[str, Any],
    settings: str,
    versions: tuple[str, ...],
) -> None:
    out = written(tmp_path, builder, case, engine, settings)
    for version in versions:
        objects = rendered(out, version, "values-prod.yaml")
        for one in objects:
            require_valid(one, version)
        _require_ports(objects)
        seen = files_of([Document(one) for one in objects])
        assert run_on_file("DEP", seen, "chart") == ()


def _require_ports(objects: list[dict[str, Any]]) -> None:
    """Every port that is named is one of a container, and every selector is the pod's labels."""
    (pod,) = (pod_of(one) for one in objects if one["kind"] in ("Deployment", "LeaderWorkerSet"))
    ports = {port["name"] for box in pod["spec"]["containers"] for port in box.get("ports", ())}
    labels = pod["metadata"]["labels"].items()
    for one in objects:
        if one["kind"] == "Service":
            assert {port["targetPort"] for port in one["spec"]["ports"]} <= ports
            own = {k: v for k, v in one["spec"]["selector"].items() if "leaderworkerset" not in k}
            assert own.items() <= labels
        if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == "demo":
            assert one["spec"]["podSelector"]["matchLabels"].items() <= labels


def pod_of(workload: dict[str, Any]) -> dict[str, Any]:
    spec = workload["spec"]
    found: dict[str, Any] = spec.get("template") or spec["leaderWorkerTemplate"]["leaderTemplate"]
    return found


def test_helm_finds_nothing_to_complain_about(tmp_path: Path) -> None:
    out = written(tmp_path, "vllm", "plain", {}, KEDA + ROUTE)
    done = run_helm("lint", "--strict", "chart", "-f", "values.yaml", cwd=out)
    assert done.returncode == 0, done.stdout


def test_the_shape_of_a_replica(tmp_path: Path) -> None:
    logs = "observe: {loki: 'http://loki.logs:3100'}\n"
    out = written(tmp_path, "vllm", "plain", {"tensor_parallel_size": 2}, GATEWAY + logs)
    named = (one for one in rendered(out, "1.34") if one["metadata"]["name"] == "demo")
    objects = {one["kind"]: one for one in named}
    pod = pod_of(objects["Deployment"])["spec"]
    server, gateway = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] == 15 + 60 + 30
    assert server["lifecycle"]["preStop"]["sleep"]["seconds"] == 15
    assert gateway["lifecycle"]["preStop"]["sleep"]["seconds"] == 15
    assert {"name": "TRTBUILD_LOG_FORMAT", "value": "json"} in gateway["env"]
    assert server["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert server["resources"]["limits"]["memory"] == server["resources"]["requests"]["memory"]
    shm = next(one for one in pod["volumes"] if one["name"] == "shm")["emptyDir"]
    assert shm == {"medium": "Memory", "sizeLimit": "1024Mi"}
    live = server["livenessProbe"]["exec"]["command"]
    assert live == ["python3", "/etc/trtbuild/probe.py", "live"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    assert objects["NetworkPolicy"]["spec"]["egress"] == []


@pytest.mark.parametrize("engine", [{}, RAY], ids=["Deployment", "LeaderWorkerSet"])
@pytest.mark.parametrize(("settings", "expected"), [("replicas: 0\n", 0), ("name: demo\n", 1)])
def test_no_replicas_is_a_number_too(
    tmp_path: Path, engine: dict[str, Any], settings: str, expected: int
) -> None:
    objects = rendered(written(tmp_path, "vllm", "plain", engine, settings), "1.34")
    (found,) = (one for one in objects if one["kind"] in ("Deployment", "LeaderWorkerSet"))
    assert found["spec"]["replicas"] == expected


def test_a_hostile_value_stays_a_value(tmp_path: Path) -> None:
    out = written(tmp_path, "vllm", "plain", {}, EVERYTHING)
    deployment = next(one for one in rendered(out, "1.34") if one["kind"] == "Deployment")
    server = pod_of(deployment)["spec"]["containers"][0]
    env = {one["name"]: one.get("value") for one in server["env"]}
    assert env["A"] == "{{ .Release }} $x \n: *a"
    assert env["HF_TOKEN"] is None


def test_a_group_of_nodes_is_replaced_and_drained_as_a_whole(tmp_path: Path) -> None:
    objects = rendered(written(tmp_path, "vllm", "plain", RAY, ""), "1.34")
    (found,) = (one["spec"] for one in objects if one["kind"] == "LeaderWorkerSet")
    strategy = found["rolloutStrategy"]["rollingUpdateConfiguration"]
    assert strategy == {"maxUnavailable": 0, "maxSurge": 1}
    leader, worker = (
        found["leaderWorkerTemplate"][f"{role}Template"]["spec"] for role in ("leader", "worker")
    )
    assert leader["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] == 15
    # a leader's open streams need the worker until the leader's own timeout is over
    assert worker["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] == 15 + 60
    assert worker["terminationGracePeriodSeconds"] > 15 + 60


def test_without_prometheus_the_number_of_replicas_stays(tmp_path: Path) -> None:
    objects = rendered(written(tmp_path, "vllm", "plain", {}, KEDA), "1.34")
    (scaler,) = (one["spec"] for one in objects if one["kind"] == "ScaledObject")
    assert scaler["fallback"]["behavior"] == "currentReplicasIfHigher"
    assert scaler["fallback"]["replicas"] == scaler["minReplicaCount"]


def test_the_gateway_of_the_route_may_come_in_and_callers_need_keys(tmp_path: Path) -> None:
    keys = GATEWAY.replace(":1}", ":1, keys: {name: chat-keys, key: k.json}}")
    objects = rendered(written(tmp_path, "vllm", "plain", {}, ROUTE + keys), "1.34")
    named = {one["kind"]: one for one in objects if one["metadata"]["name"] == "demo"}
    own, route, _ = named["NetworkPolicy"]["spec"]["ingress"]
    assert own["from"] == [{"podSelector": {}}]
    place = {"matchLabels": {"kubernetes.io/metadata.name": "infra"}}
    assert route["from"] == [{"namespaceSelector": place}]
    assert route["ports"] == [{"port": "openai"}]  # nobody comes in beside the keys
    pod = pod_of(named["Deployment"])["spec"]
    (volume,) = (one for one in pod["volumes"] if one["name"] == "gateway-keys")
    assert volume["secret"]["secretName"] == "chat-keys"
    assert volume["secret"]["items"] == [{"key": "k.json", "path": "keys.json"}]
    mounts = {one["mountPath"] for one in pod["containers"][1]["volumeMounts"]}
    assert {"/etc/trtbuild", "/etc/trtbuild-keys"} <= mounts


def test_a_route_to_triton_itself_reaches_no_control_of_models(tmp_path: Path) -> None:
    objects = rendered(written(tmp_path, "vllm", "plain", {}, ROUTE), "1.34")
    (route,) = (one["spec"] for one in objects if one["kind"] == "HTTPRoute")
    (rule,) = route["rules"]
    assert [one["path"]["value"] for one in rule["matches"]] == ["/v2/models", "/v2/health"]
    assert rule["backendRefs"] == [{"name": "demo", "port": 8000}]


def test_every_pod_pulls_with_the_secrets(tmp_path: Path) -> None:
    objects = rendered(written(tmp_path, "vllm", "plain", {}, EVERYTHING), "1.34")
    (deployment,) = (one for one in objects if one["kind"] == "Deployment")
    (test,) = (one for one in objects if one["kind"] == "Pod")
    for spec in (pod_of(deployment)["spec"], test["spec"]):
        assert spec["imagePullSecrets"] == [{"name": "registry"}]
        assert spec["nodeSelector"] == {"gpu": "true"}  # where the image is already
        assert spec["tolerations"][0]["key"] == "gpu"


def test_another_repository_is_another_pod_of_the_same_selector(tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    pods, selectors = [], []
    for folder, weights in ((first, 1), (second, 2)):
        folder.mkdir()
        repo = deployable(folder, weights=weights).rename(folder / f"{folder.name}-models")
        write(render("helm", repo, None), folder / "out")
        (found,) = (one for one in rendered(folder / "out", "1.34") if one["kind"] == "Deployment")
        pods.append(pod_of(found)["metadata"]["annotations"]["checksum/repository"])
        selectors.append(found["spec"]["selector"])
    assert pods[0] != pods[1]
    assert selectors[0] == selectors[1]


@pytest.mark.parametrize(
    ("settings", "version", "said"),
    [(DRA, "1.30", "gpu.mode dra needs Kubernetes 1.34"),
     (IMAGE, "1.30", "weights.from image needs Kubernetes 1.31"),
     (IMAGE[:-2] + ", path: a}\n", "1.32", "weights.path in an image needs Kubernetes 1.33")],
)  # fmt: skip
def test_an_older_cluster_is_refused_with_what_to_use(
    tmp_path: Path, settings: str, version: str, said: str
) -> None:
    out = written(tmp_path, "vllm", "plain", {}, settings)
    words = ("template", "demo", "chart", "-f", "values.yaml", "--kube-version", version)
    done = run_helm(*words, cwd=out)
    assert done.returncode != 0
    assert said in done.stderr


@pytest.mark.parametrize("scaling", [KEDA, HPA])
def test_an_autoscaler_from_zero_is_refused_by_the_chart(tmp_path: Path, scaling: str) -> None:
    words = ("template", "d", "chart", "-f", "values.yaml", "--set", "autoscaling.min=0")
    case = ("vllm", "plain") if scaling == KEDA else ("trtllm", "everything")
    settings = scaling if scaling == KEDA else "weights: {size: 16Gi}\n" + scaling
    done = run_helm(*words, cwd=written(tmp_path, *case, {}, settings))
    assert done.returncode != 0
    assert "autoscaling.min 0 never ends" in done.stderr


def test_a_release_that_no_service_can_be_named_after_is_refused(tmp_path: Path) -> None:
    words = ("template", "7b.chat", "chart", "-f", "values.yaml")
    done = run_helm(*words, cwd=written(tmp_path, "vllm", "plain", {}, ""))
    assert done.returncode != 0
    assert "the release 7b.chat cannot name a Service" in done.stderr


def test_a_misspelt_value_is_refused_by_helm(tmp_path: Path) -> None:
    out = written(tmp_path, "vllm", "plain", {}, "")
    done = run_helm(
        "template", "d", "chart", "-f", "values.yaml", "--set", "server.cpus=2", cwd=out
    )
    assert done.returncode != 0
    assert "cpus" in done.stderr

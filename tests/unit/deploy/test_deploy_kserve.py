"""KServe's objects: their CRDs, a canary, and what an InferenceService cannot do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from support.deployments import deployable
from support.kubernetes import require_valid
from trtbuild.errors import TrtbuildError
from trtbuild_deploy.jobs.checking import check
from trtbuild_deploy.jobs.render import render, write

DIGEST = f"sha256:{'a' * 64}"
FULL = f"""
replicas: 3
image: nvcr.io/nvidia/tritonserver@{DIGEST}
server:
  env: {{GREETING: "{{{{ .Name }}}} $x"}}
  secrets: {{HF_TOKEN: {{name: hub, key: token}}}}
  tolerations: [{{key: gpu}}]
  nodeSelector: {{pool: gpu}}
  pullSecrets: [registry]
  runtimeClass: nvidia
  strategy: recreate
kserve: {{serviceAccount: reader}}
weights: {{from: s3, reference: "s3://models/chat", secret: s3, size: 16Gi}}
"""
STABLE = """
replicas: 3
weights: {path: b}
kserve: {percent: 25, stable: {version: %s, storage: "%s"}}
"""


def written(root: Path, settings: str = "", builder: str = "vllm", case: str = "plain") -> Path:
    root.mkdir(exist_ok=True)
    file = root / "deploy.yaml"
    file.write_text(settings or "name: chat\n")
    write(render("kserve", deployable(root, builder, case), file), root / "out")
    return root / "out"


def objects(folder: Path) -> dict[str, Any]:
    found = list(yaml.safe_load_all((folder / "kserve.yaml").read_text()))
    return {one["kind"]: one for one in found}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("builder", "case", "settings"),
    [
        ("vllm", "plain", ""),
        ("vllm", "plain", FULL),
        ("trtllm", "plain", "weights: {size: 16Gi, from: image, reference: 'r.io/models:1'}\n"),
        ("onnx", "embed", f"weights: {{from: hub, reference: 'a/b@{'1' * 40}'}}\n"),
    ],
)
def test_the_objects_are_what_the_cluster_takes(
    tmp_path: Path, builder: str, case: str, settings: str
) -> None:
    folder = written(tmp_path, settings, builder, case)
    for one in objects(folder).values():
        require_valid(one, "1.34")
    checked = check(folder)
    assert checked.looked_at == ("kserve.yaml",)
    assert checked.findings == ()


def test_a_replica_is_the_same_as_in_every_target(tmp_path: Path) -> None:
    found = objects(written(tmp_path, FULL))
    (container,) = found["ServingRuntime"]["spec"]["containers"]
    assert container["image"].endswith(DIGEST)
    assert container["args"][0] == "tritonserver"
    assert container["livenessProbe"]["exec"]["command"][-1] == "live"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert [port["name"] for port in container["ports"]] == ["http", "grpc", "metrics"]
    predictor = found["InferenceService"]["spec"]["predictor"]
    assert predictor["storageUris"] == [{"uri": "s3://models/chat", "mountPath": "/models"}]
    assert predictor["model"]["runtime"] == found["ServingRuntime"]["metadata"]["name"]
    assert predictor["terminationGracePeriodSeconds"] == 15 + 60 + 30
    assert predictor["minReplicas"] == 3
    assert predictor["serviceAccountName"] == "reader"
    assert "name" not in predictor["model"]  # the webhook refuses it


@pytest.mark.parametrize(("seconds", "hooked"), [(0, False), (5, True)])
def test_no_time_before_the_stop_is_no_hook(tmp_path: Path, seconds: int, hooked: bool) -> None:
    found = objects(written(tmp_path, f"server: {{preStop: {seconds}}}\n"))
    (container,) = found["ServingRuntime"]["spec"]["containers"]
    assert ("lifecycle" in container) is hooked


def test_a_template_in_a_value_stays_text(tmp_path: Path) -> None:
    (container,) = objects(written(tmp_path, FULL))["ServingRuntime"]["spec"]["containers"]
    values = {one["name"]: one.get("value") for one in container["env"]}
    assert values["GREETING"] == "{{`{{`}} .Name }} $x"
    (secret,) = (one["valueFrom"] for one in container["env"] if one["name"] == "HF_TOKEN")
    assert secret == {"secretKeyRef": {"name": "hub", "key": "token"}}


def test_a_canary_stands_beside_the_stable_version_and_takes_its_place(tmp_path: Path) -> None:
    stable = objects(written(tmp_path / "a", "replicas: 3\nweights: {path: a}\n"))
    before = stable["InferenceService"]["spec"]["predictor"]
    version, storage = before["name"], before["storageUris"][0]["uri"]
    settings = STABLE % (version, storage)
    file = tmp_path / "deploy.yaml"
    file.write_text(settings)
    repo = deployable(tmp_path, weights=2 << 20)
    deployment = render("kserve", repo, file)
    write(deployment, tmp_path / "out")
    trial = objects(tmp_path / "out")
    require_valid(trial["InferenceService"], "1.34")
    assert trial["InferenceService"]["spec"]["predictor"] == before
    (canary,) = trial["InferenceService"]["spec"]["canary"]
    assert canary["trafficPercent"] == 25
    assert canary["predictor"]["minReplicas"] == 1
    assert canary["predictor"]["model"]["runtime"] == trial["ServingRuntime"]["metadata"]["name"]
    assert any(f"deploy {version} again" in note for note in deployment.rendered.notes)
    file.write_text("replicas: 3\nweights: {path: b}\n")
    write(render("kserve", repo, file), tmp_path / "out")
    after = objects(tmp_path / "out")
    assert after["ServingRuntime"] == trial["ServingRuntime"]
    promoted = after["InferenceService"]["spec"]["predictor"]
    assert promoted["name"] == canary["predictor"]["name"] != version
    assert "canary" not in after["InferenceService"]["spec"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("gpu: {count: 16}\n", "on several nodes"),
        ("gpu: {mode: dra}\n", "a claim for each pod"),
        ("gateway: {enabled: true, image: 'g:1'}\n", "deploy the gateway by itself"),
        ("autoscaling: {kind: keda}\n", "a fixed number of replicas"),
        (
            "weights: {from: s3, reference: 's3://b', endpoint: 'http://a'}\n",
            "kserve.serviceAccount",
        ),
        ("weights: {from: image, reference: 'i:1', path: a}\n", "mounts the directory 'models'"),
        ("kserve: {stable: {version: r00000000, storage: 'pvc://model-repository-models'}}\n",
         "a place of its own"),
    ],
)  # fmt: skip
def test_what_kserve_cannot_do_is_refused(tmp_path: Path, settings: str, said: str) -> None:
    with pytest.raises(TrtbuildError, match=said) as caught:
        written(tmp_path, settings)
    assert caught.value.exit_code == 4
    assert not (tmp_path / "out").exists()


def test_this_repository_is_no_canary_of_itself(tmp_path: Path) -> None:
    version = objects(written(tmp_path / "a"))["InferenceService"]["spec"]["predictor"]["name"]
    with pytest.raises(TrtbuildError, match="is this repository"):
        written(tmp_path / "b", STABLE % (version, "pvc://other"))

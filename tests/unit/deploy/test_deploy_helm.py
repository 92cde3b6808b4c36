"""The values of the chart: closed, and different by environment in what differs only."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from support.deployments import deployable
from support.paths import ROOT
from trtbuild.errors import TrtbuildError
from trtbuild_deploy.jobs.render import render
from trtbuild_deploy.resources import data_file
from trtbuild_gateway.settings_file import read_settings

SCHEMA = json.loads(data_file("chart/values.schema.json").read_text(encoding="utf-8"))
CLOSED = jsonschema.Draft202012Validator(SCHEMA)
RAY = {
    "distributed_executor_backend": "ray",
    "tensor_parallel_size": 8,
    "pipeline_parallel_size": 2,
}

KEYS = "gateway: {enabled: true, image: g:1, keys: {name: chat-keys, key: k.json}}\n"
WORKER = "worker: {queue: redis, image: w:1, secret: q, address: 'redis:6379', name: requests}\n"


def files(repo: Path, settings: str = "") -> dict[str, Any]:
    """The values files by path; ``values-x.yaml`` laid over ``values.yaml``."""
    file = repo.parent / "deploy.yaml"
    file.write_text(settings or "replicas: 1\n")
    found = {one.path: one.content for one in render("helm", repo, file).files}
    return {path: yaml.safe_load(text) for path, text in found.items() if path.startswith("values")}


def laid_over(base: Any, changes: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    return {
        key: laid_over(base.get(key), changes[key]) if key in changes else base[key]
        for key in {**base, **changes}
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["write_values_schema", "document_deploy"])
def test_what_is_made_from_the_model_is_fresh(name: str) -> None:
    script = [sys.executable, ROOT / f"scripts/{name}.py", "--check"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("builder", "case", "settings"),
    [
        ("vllm", "plain", "rehearsalImage: example/trtbuild:1\n"),
        ("trtllm", "everything", "weights: {size: 16Gi}\n"),
        ("onnx", "embed", "gateway: {enabled: true, image: example/gateway:1}\n"),
    ],
)
def test_every_environment_has_valid_values(
    tmp_path: Path, builder: str, case: str, settings: str
) -> None:
    found = files(deployable(tmp_path, builder, case), settings)
    base = found.pop("values.yaml")
    CLOSED.validate(base)
    expected = {f"values-{name}.yaml" for name in ("dev", "staging", "prod")}
    rehearsed = "rehearsalImage" in settings or builder == "onnx"
    assert set(found) == expected | ({"values-rehearsal.yaml"} if rehearsed else set())
    for changes in found.values():
        CLOSED.validate(laid_over(base, changes))


def test_an_environment_holds_only_what_differs(tmp_path: Path) -> None:
    settings = "rehearsalImage: example/trtbuild:1\nenvironments:\n  prod:\n    replicas: 4\n"
    settings += "    gpu: {count: 2}\n  canary:\n    server: {preStop: 20}\n"
    found = files(deployable(tmp_path), settings)
    assert found["values-prod.yaml"]["replicas"] == 4
    assert found["values-prod.yaml"]["workload"] == {"gpu": {"count": 2}, "gpusPerNode": 2}
    assert found["values-canary.yaml"] == {"server": {"preStop": 20}}
    rehearsal = found["values-rehearsal.yaml"]
    assert rehearsal["gpu"] == {"mode": "none"}
    assert rehearsal["workload"]["gpu"] is None
    assert rehearsal["workload"]["args"][:2] == ["trtbuild", "serve"]


def objects_in(shape: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(shape, dict) and shape.get("type") == "object":
        yield place, shape
    for key, inner in shape.items() if isinstance(shape, dict) else ():
        yield from objects_in(inner, f"{place}/{key}")


def test_every_object_of_the_schema_is_closed() -> None:
    seen = dict(objects_in(SCHEMA))
    assert len(seen) > 20
    for place, shape in seen.items():
        texts = {"type": "string"}  # of a mapping that takes any key
        free = {
            "/$defs/Request/properties/body",
            "/$defs/WorkloadValues/properties/gatewaySettings",
        }
        assert place in free or shape["additionalProperties"] in (False, texts), place


@pytest.mark.parametrize("place", ["", "server", "gpu", "weights", "workload", "autoscaling"])
def test_a_misspelt_key_is_refused_by_the_schema(tmp_path: Path, place: str) -> None:
    values = files(deployable(tmp_path))["values.yaml"]
    (values[place] if place else values)["replcas"] = 1
    with pytest.raises(jsonschema.ValidationError, match="replcas"):
        CLOSED.validate(values)


@pytest.mark.parametrize(
    ("section", "key", "wrong"),
    [
        ("server", "env", {"A B": "x"}),
        ("server", "env", {"": "x"}),
        ("server", "env", {"A": 1}),
        ("server", "nodeSelector", {"a b": "x"}),
        ("server", "nodeSelector", {"pool": True}),
        ("monitoring", "labels", {"a//b": "x"}),
    ],
)
def test_a_key_of_a_mapping_must_have_its_form(
    tmp_path: Path, section: str, key: str, wrong: dict[str, Any]
) -> None:
    values = files(deployable(tmp_path))["values.yaml"]
    values[section][key] = wrong
    with pytest.raises(jsonschema.ValidationError):
        CLOSED.validate(values)


def test_no_replicas_beside_an_autoscaler(tmp_path: Path) -> None:
    settings = "autoscaling: {kind: keda}\ngateway: {enabled: true, image: example/gateway:1}\n"
    values = files(deployable(tmp_path), settings)["values.yaml"]
    assert values["replicas"] is None
    query = values["workload"]["scaling"]["query"]
    assert query.startswith("sum(trtbuild_gateway_requests_in_flight{namespace=")
    (pods,) = re.findall(r'pod=~"([^"]+)"', query)
    own = re.compile(pods.replace("__RELEASE__", "chat"))
    for name in ("chat-7d9f8b6c5d-x2x4z", "chat-0", "chat-12-3"):
        assert own.fullmatch(name)
    for name in ("chat-eu-7d9f8b6c5d-x2x4z", "chat-eu-0", "chat-eu-0-1"):
        assert not own.fullmatch(name)


def test_an_environment_alone_can_scale(tmp_path: Path) -> None:
    gateway = "gateway: {enabled: true, image: example/gateway:1}\n"
    found = files(
        deployable(tmp_path), gateway + "environments: {prod: {autoscaling: {kind: keda}}}\n"
    )
    assert found["values.yaml"]["replicas"] == 1
    assert found["values-prod.yaml"]["replicas"] is None


def test_streams_may_take_as_long_everywhere_as_the_environment_says(tmp_path: Path) -> None:
    settings = f"{KEYS}environments: {{prod: {{server: {{exitTimeout: 300}}}}}}\n"
    found = files(deployable(tmp_path), settings)
    for path, seconds in (("values.yaml", 60), ("values-prod.yaml", 300)):
        workload = found[path]["workload"]
        assert f"--exit-timeout-secs={seconds}" in workload["args"]
        assert workload["gatewaySettings"]["drain_seconds"] == seconds


def test_the_gateway_takes_its_settings(tmp_path: Path) -> None:
    workload = files(deployable(tmp_path), KEYS)["values.yaml"]["workload"]
    (tmp_path / "gateway.yaml").write_text(json.dumps(workload["gatewaySettings"]))
    read = read_settings(tmp_path / "gateway.yaml")
    assert read.access.keys == Path("/etc/trtbuild-keys/keys.json")
    assert read.access.public == ("/health*", "/metrics")
    command = workload["gatewayArgs"]
    assert command[command.index("-f") + 1] == "/etc/trtbuild/gateway.yaml"


def test_a_rehearsal_has_no_gpu_and_no_autoscaler_whatever_the_others_have(tmp_path: Path) -> None:
    settings = "gpu: {mode: mig, profile: 1g.10gb}\nrehearsalImage: r:1\n"
    settings += "autoscaling: {kind: keda}\n"  # on a metric of the engine's
    repo = deployable(tmp_path, "trtllm-engine", "balanced", release="26.06")
    rehearsal = files(repo, settings)["values-rehearsal.yaml"]
    assert rehearsal["gpu"] == {"mode": "none"}
    assert rehearsal["workload"]["image"] == "r:1"
    assert rehearsal["autoscaling"] == {"kind": "none"}
    assert rehearsal["replicas"] == 1


def test_a_copy_of_the_weights_has_a_way_out_a_place_and_time(tmp_path: Path) -> None:
    store = "from: s3, reference: 's3://b', image: a:1, endpoint: 'http://minio.storage:9000'"
    trace = "tracing: {url: 'http://tempo:4318'}\n"
    values = files(deployable(tmp_path), f"weights: {{{store}, size: 20G}}\n{trace}")["values.yaml"]
    workload = values["workload"]
    assert values["network"]["egress"] == "https"
    assert workload["egressPorts"] == [4318, 9000]
    assert workload["disk"] == f"{-(-22_000_000_000 // (1 << 20))}Mi"
    startup = workload["startup"]
    assert workload["progressDeadline"] == startup["period"] * startup["failures"] + 300 + 200


def test_several_nodes_form_a_cluster_of_ray(tmp_path: Path) -> None:
    repo = deployable(tmp_path, settings={"engine": RAY})
    workload = files(repo)["values.yaml"]["workload"]
    assert (workload["nodes"], workload["gpusPerNode"]) == (2, 8)
    assert workload["args"][:2] == ["bash", "-c"]
    assert "ray start --head" in workload["args"][2]
    assert "$LWS_LEADER_ADDRESS" in workload["workerArgs"][-1]


@pytest.mark.parametrize(
    ("builder", "engine", "settings", "code", "said"),
    [
        ("vllm", {}, "autoscaling: {kind: keda, signal: queue}\n", 4, "exports no metric for it"),
        ("vllm", {}, "autoscaling: {kind: keda, min: 0}\n", 3, "come from the pods"),
        ("vllm", {}, "autoscaling: {kind: hpa}\n", 4, "needs a gauge of each pod"),
        ("vllm", {**RAY, "distributed_executor_backend": "mp"}, "", 4, "executor_backend=ray"),
        ("vllm", {**RAY, "pipeline_parallel_size": 1}, "gpu: {perNode: 4}\n", 3, "GPUs of a node"),
        ("trtllm", {}, "weights: {size: 1Gi}\ngpu: {perNode: 1}\n", 4, "starts its ranks by MPI"),
        ("vllm-pooling", RAY, "", 4, "has no ranks on other nodes"),
        ("vllm", {}, "gpu: {count: 9}\n", 4, "do not fill nodes of 8"),
        ("vllm", {}, "gateway: {enabled: true}\n", 3, "needs 'gateway.image'"),
        ("vllm", {}, "weights: {from: s3}\n", 3, "give s3://bucket/prefix"),
        ("vllm", {}, "weights: {from: hub, reference: a/b@main}\n", 3, "the commit in full"),
        ("vllm", {}, "weights: {from: s3, reference: 's3://b'}\n", 4, "needs 'weights.image'"),
        ("onnx", {}, f"weights: {{from: hub, reference: a/b@{'0' * 40}}}\n", 4, "huggingface_hub"),
        ("vllm", {}, "environments:\n  prod: {gpu: {mode: mig}}\n", 3, "needs 'gpu.profile'"),
        (
            "vllm",
            {},
            "environments: {prod: {gpu: {count: 9}}}\n",
            4,
            "environments.prod: a replica",
        ),
        ("vllm", {}, "environments: {prod: {autoscaling: {kind: hpa}}}\n", 4, "needs a gauge"),
        ("vllm", {}, "gpu: {mode: shared, count: 2}\n", 3, "a replica takes 2: parts"),
        ("onnx", {}, "gpu: {count: 16}\n", 4, "no model takes more than 0: lower it"),
        ("vllm", {}, KEYS + WORKER, 3, "put it into the Secret"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, builder: str, engine: dict[str, Any], settings: str, code: int, said: str
) -> None:
    case = {"onnx": "embed", "vllm-pooling": "embed", "trtllm": "everything"}.get(builder, "plain")
    repo = deployable(tmp_path, builder, case, settings={"engine": engine})
    with pytest.raises(TrtbuildError) as caught:
        files(repo, settings)
    assert said in " ".join((caught.value.what, *caught.value.details))
    assert caught.value.exit_code == code
    assert caught.value.fix


def test_the_queue_of_an_engine_is_scaled_on(tmp_path: Path) -> None:
    repo = deployable(tmp_path, "trtllm-engine", "balanced", release="26.06")
    values = files(repo, "autoscaling: {kind: keda}\n")["values.yaml"]
    assert 'request_type="waiting"' in values["workload"]["scaling"]["query"]

"""The Compose files: their schema, their limits, and hostile values that stay values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from support.command_line import trtbuild
from support.deployments import deployable
from support.paths import JSON_SCHEMAS
from trtbuild.errors import TrtbuildError
from trtbuild_deploy.jobs.render import render

SCHEMA = jsonschema.Draft7Validator(
    json.loads((JSON_SCHEMAS / "compose-spec.json").read_text(encoding="utf-8"))
)


def rendered(repo: Path, settings: str = "") -> dict[str, Any]:
    """The files by path, YAML parsed."""
    file = None
    if settings:
        file = repo.parent / "deploy.yaml"
        file.write_text(settings)
    files = {one.path: one.content for one in render("compose", repo, file).files}
    return {
        path: yaml.safe_load(content) if path.endswith(".yaml") else content.decode()
        for path, content in files.items()
    }


@pytest.mark.parametrize(
    ("builder", "case"),
    [("vllm", "plain"), ("vllm", "hub-adapters"), ("trtllm", "plain"), ("onnx", "embed")],
)
def test_the_files_follow_the_specification(tmp_path: Path, builder: str, case: str) -> None:
    files = rendered(
        deployable(tmp_path, builder, case), "weights: {size: 16Gi}\nname: a\nserver: {cpu: '2'}\n"
    )
    composed = [path for path in files if path.startswith("compose")]
    assert ("compose.cpu.yaml" in composed) == (builder != "onnx")
    for path in composed:
        SCHEMA.validate(files[path])
    services = files["compose.yaml"]["services"]
    assert set(services) == {"server", "gateway", "prometheus", "collector"}
    profiles = {name: service.get("profiles") for name, service in services.items()}
    assert profiles["server"] is None
    assert profiles["gateway"] == ["gateway"]
    assert profiles["prometheus"] == profiles["collector"] == ["observe"]


def test_the_gateway_drains_as_long_as_the_server_and_asks_for_keys(tmp_path: Path) -> None:
    settings = "gateway: {keys: {name: a, key: b}}\nserver: {exitTimeout: 120}\n"
    files = rendered(deployable(tmp_path), settings)
    assert files["gateway.yaml"]["drain_seconds"] == 120
    gateway = files["compose.yaml"]["services"]["gateway"]
    assert gateway["stop_grace_period"] == "150s"
    mounts = {one["target"]: one["source"] for one in gateway["volumes"]}
    assert mounts["/etc/trtbuild/gateway.yaml"] == "./gateway.yaml"
    assert mounts[files["gateway.yaml"]["access"]["keys"]].startswith("${GATEWAY_KEYS:?")
    assert "GATEWAY_KEYS=" in files[".env.example"]


def test_the_server_has_its_limits_and_its_gpu(tmp_path: Path) -> None:
    engine = {"tensor_parallel_size": 2}
    repo = deployable(tmp_path, weights=15 << 30, settings={"engine": engine})
    files = rendered(repo)
    server = files["compose.yaml"]["services"]["server"]
    (device,) = server["deploy"]["resources"]["reservations"]["devices"]
    assert device["count"] == 2
    assert server["mem_limit"] > server["shm_size"] == 1 << 30
    assert server["healthcheck"]["test"][-1] == "live"
    assert server["healthcheck"]["start_period"] == f"{2 * (81 + 240)}s"
    assert server["stop_grace_period"] == "90s"
    assert all(port["host_ip"] == "127.0.0.1" for port in server["ports"])
    cpu = files["compose.cpu.yaml"]["services"]["server"]
    assert "deploy" not in cpu
    assert cpu["command"][:2] == ["trtbuild", "serve"]
    assert "trtbuild runtime install" in cpu["build"]["dockerfile_inline"]


def test_a_dollar_is_never_a_variable_of_compose(tmp_path: Path) -> None:
    hostile = "a ${HOME} $x {{ .Values.y }}\nb: *z"
    files = rendered(deployable(tmp_path), f"server:\n  env:\n    A: {json.dumps(hostile)}\n")
    server = files["compose.yaml"]["services"]["server"]
    assert server["environment"]["A"] == hostile.replace("$", "$$")


def test_a_secret_is_named_and_never_written(tmp_path: Path) -> None:
    settings = "server:\n  secrets:\n    HF_TOKEN: {name: hf, key: token}\n"
    files = rendered(deployable(tmp_path), settings)
    assert files["compose.yaml"]["services"]["server"]["environment"]["HF_TOKEN"] is None
    assert "HF_TOKEN=\n" in files[".env.example"]


def test_development_traces_and_a_pipeline_ends(tmp_path: Path) -> None:
    files = rendered(deployable(tmp_path), "tracing: {url: 'http://elsewhere:4318/v1/traces'}\n")
    dev = files["compose.dev.yaml"]["services"]["server"]["command"]
    assert sum("url=" in word for word in dev) == 1
    assert "--trace-config=opentelemetry,url=http://collector:4318/v1/traces" in dev
    verify = files["compose.test.yaml"]["services"]["verify"]
    assert verify["network_mode"] == "service:server"


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ("gpu: {perNode: 1}\n", 3, "tensor_parallel_size 2 is more than the 1 GPUs of a node"),
        ("gpu: {count: 1}\n", 3, "'gpu.count' 1 is less than the 2 ranks"),
        ("gpu: {mode: mig, profile: 1g.10gb}\n", 3, "parts cannot be joined"),
        ("gpu: {mode: mig, count: 1}\n", 3, "'gpu.mode' mig needs 'gpu.profile'"),
        ("gpu: {mode: dra}\n", 4, "'gpu.mode' dra is for Kubernetes"),
        ("replicas: 2\nautoscaling: {kind: keda}\n", 3, "both set the number of replicas"),
        ("autoscaling: {kind: hpa, min: 0}\n", 3, "come from the pods"),
        ("autoscaling: {kind: keda, min: 5}\n", 3, "'autoscaling.min' 5 is more than"),
        ("weights: {from: hub}\nnetwork: {egress: none}\n", 3, "stops the download"),
        ("server: {memory: 1Gi}\n", 3, "leaves nothing beside /dev/shm"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, settings: str, code: int, said: str) -> None:
    repo = deployable(tmp_path, settings={"engine": {"tensor_parallel_size": 2}})
    with pytest.raises(TrtbuildError) as caught:
        rendered(repo, settings)
    error = caught.value
    assert said in " ".join((error.what, *error.details))
    assert error.exit_code == code
    assert error.fix


def test_the_size_of_downloaded_weights_must_be_given(tmp_path: Path) -> None:
    repo = deployable(tmp_path, "vllm", "hub-adapters", settings={"weights": "hub"})
    with pytest.raises(TrtbuildError, match=r"give 'weights\.size'"):
        rendered(repo)
    server = rendered(repo, "weights: {size: 16Gi}\n")["compose.yaml"]["services"]["server"]
    assert server["volumes"][-1]["target"] == "/home/cache/huggingface"


def test_the_nearest_target_is_named(tmp_path: Path) -> None:
    done = trtbuild("deploy", "compse", deployable(tmp_path), "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "did you mean 'compose'?" in done.stderr

"""Azure ML's definitions, and what its endpoints cannot do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.deployments import deployable, refuses
from trtbuild_deploy.jobs.render import render

SETTINGS = """
name: chat
replicas: 2
weights: {size: 16Gi}
azureml: {image: "registry.azurecr.io/chat:1", instanceType: Standard_NC24ads_A100_v4}
"""


def files(root: Path, settings: str = SETTINGS, case: tuple[str, str] = ("vllm", "plain")) -> Any:
    file = root / "deploy.yaml"
    file.write_text(settings)
    made = render("azureml", deployable(root, *case), file)
    read = {".yaml": yaml.safe_load, ".json": json.loads, "": bytes.decode}
    found = {one.path: read[Path(one.path).suffix](one.content) for one in made.files}
    return {**found, "next": made.rendered.next}


@pytest.mark.parametrize(
    ("case", "route", "key"),
    [(("vllm", "plain"), "generate_stream", "text_input"), (("onnx", "embed"), "infer", "inputs")],
)
def test_a_call_reaches_the_model(
    tmp_path: Path, case: tuple[str, str], route: str, key: str
) -> None:
    settings = SETTINGS if case[0] == "vllm" else SETTINGS + "gpu: {mode: none}\n"
    found = files(tmp_path, settings, case)
    deployment = found["deployment.yaml"]
    routes = deployment["environment"]["inference_config"]
    assert routes["scoring_route"] == {"port": 8000, "path": "/"}
    assert {one["port"] for one in routes.values()} == {8000}
    assert key in found["call.json"]
    assert any(f".ml.azure.com/v2/models/llama/{route}" in line for line in found["next"])
    assert deployment["endpoint_name"] == found["endpoint.yaml"]["name"] == "chat"
    assert deployment["instance_count"] == 2
    image, _, copy, command = found["Dockerfile"].splitlines()
    assert image.startswith("FROM nvcr.io/nvidia/tritonserver:26.07")
    assert copy == "COPY . /models"
    assert json.loads(command.removeprefix("CMD "))[0] == "tritonserver"


def test_a_request_and_a_start_get_their_time(tmp_path: Path) -> None:
    found = files(tmp_path, f"{SETTINGS}server: {{loadSeconds: 1000}}\n")["deployment.yaml"]
    assert found["request_settings"]["request_timeout_ms"] == 180_000
    probe = found["readiness_probe"]
    assert probe["failure_threshold"] * probe["period"] >= 2000
    assert found["liveness_probe"]["failure_threshold"] == 30


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: chat", "gateway: {enabled: true, image: 'g:1'}", "one container"),
        ("replicas: 2", "autoscaling: {kind: keda}", "autoscale setting"),
        ("weights: {size: 16Gi}", "gpu: {mode: shared}", "whole GPUs"),
        ("replicas: 2", "gpu: {mode: none}\nrehearsalImage: 'i:1'", "needs GPUs to serve"),
        ("replicas: 2", "gpu: {count: 16}", "must fit one"),
        ("replicas: 2", "server: {secrets: {HF_TOKEN: {name: a, key: b}}}", "are of Kubernetes"),
        ("name: chat", f"name: {'c' * 33}", "3 to 32 letters"),
        (", instanceType: Standard_NC24ads_A100_v4", "", "'azureml.instanceType'"),
    ],
)
def test_what_an_endpoint_cannot_do_is_refused(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    refuses(lambda: files(tmp_path, SETTINGS.replace(old, new)), said)

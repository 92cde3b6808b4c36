"""Vertex AI's requests, and what its endpoints cannot do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.deployments import deployable, refuses
from trtbuild_deploy.jobs.render import render

SETTINGS = """
name: chat
replicas: 2
weights: {size: 16Gi}
vertex: {image: "docker.pkg.dev/p/r/chat:1", machineType: g2-standard-12, accelerator: NVIDIA_L4}
"""


def files(root: Path, settings: str = SETTINGS, case: tuple[str, str] = ("vllm", "plain")) -> Any:
    file = root / "deploy.yaml"
    file.write_text(settings)
    found = render("vertex", deployable(root, *case), file).files
    return {
        one.path: json.loads(one.content) if one.path.endswith(".json") else one.content.decode()
        for one in found
    }


@pytest.mark.parametrize(
    ("case", "route", "key"),
    [(("vllm", "plain"), "generate_stream", "text_input"), (("onnx", "embed"), "infer", "inputs")],
)
def test_the_route_takes_the_call(
    tmp_path: Path, case: tuple[str, str], route: str, key: str
) -> None:
    settings = SETTINGS if case[0] == "vllm" else SETTINGS + "gpu: {mode: none}\n"
    found = files(tmp_path, settings, case)
    spec = found["upload-model.json"]["model"]["containerSpec"]
    assert spec["predictRoute"] == f"/v2/models/llama/{route}"
    assert key in found["call.json"]
    assert spec["args"][-2:] == ["--allow-vertex-ai=false", "--allow-http=true"]
    assert int(spec["sharedMemorySizeMb"]) >= 1024
    resources = found["deploy-model.json"]["deployedModel"]["dedicatedResources"]
    assert resources["minReplicaCount"] == 2
    assert resources["machineSpec"].get("acceleratorCount") == (1 if case[0] == "vllm" else None)
    assert "COPY . /models" in found["Dockerfile"]


@pytest.mark.parametrize(("load", "timeout"), [(60, 1800), (1000, 4000), (3000, 7200)])
def test_a_deployment_gets_no_longer_than_vertex_allows(
    tmp_path: Path, load: int, timeout: int
) -> None:
    found = files(tmp_path, f"{SETTINGS}server: {{loadSeconds: {load}}}\n")
    spec = found["upload-model.json"]["model"]["containerSpec"]
    assert spec["deploymentTimeout"] == f"{timeout}s"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: chat", "gateway: {enabled: true, image: 'g:1'}", "one route"),
        ("replicas: 2", "autoscaling: {kind: keda}", "maxReplicaCount"),
        ("name: chat", "gpu: {mode: shared}", "whole GPUs"),
        ("name: chat", "gpu: {mode: none}\nrehearsalImage: 'i:1'", "needs GPUs to serve"),
        ("name: chat", "gpu: {count: 16}", "must fit one machine"),
        ("name: chat", "server: {secrets: {HF_TOKEN: {name: a, key: b}}}", "are of Kubernetes"),
        (", accelerator: NVIDIA_L4", "", "'vertex.accelerator' is missing"),
        ("machineType: g2-standard-12, ", "", "'vertex.machineType'"),
    ],
)
def test_what_an_endpoint_cannot_do_is_refused(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    refuses(lambda: files(tmp_path, SETTINGS.replace(old, new)), said)

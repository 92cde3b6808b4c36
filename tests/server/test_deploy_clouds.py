"""The real server takes the calls that the targets for clouds write, where clouds send them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest

from support import triton
from support.deployments import deployable
from support.models import write_python_model
from trtbuild import process
from trtbuild_deploy.jobs.render import render

# Answers for any inputs: what is tested is the front end.
ANSWER = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        said = np.array([b"yes"], dtype=np.object_)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("SAID", said)]) for _ in requests]
"""
SETTINGS = """
weights: {from: s3, reference: "s3://models/a"}
sagemaker:
  image: 123456789012.dkr.ecr.eu-west-1.amazonaws.com/a:1
  role: arn:aws:iam::123456789012:role/a
  instanceType: ml.c7i.xlarge
"""


VERTEX = """
gpu: {mode: none}
vertex: {image: "europe-docker.pkg.dev/p/r/a:1", machineType: n2-standard-8}
"""


def written(root: Path, name: str, call: bytes) -> Path:
    """A repository whose model ``name`` takes the input of a call."""
    (given,) = json.loads(call)["inputs"]
    config = write_python_model(root / "served", name, ANSWER) / name / "config.pbtxt"
    dims = ", ".join(map(str, given["shape"]))
    text = config.read_text().replace("TEXT", given["name"])
    config.write_text(re.sub(r"(input \{.*?dims: )\[?\d+\]?", rf"\1[{dims}]", text, flags=re.S))
    return root / "served"


def test_vertex_reaches_the_servers_own_routes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deploy.yaml").write_text(VERTEX)
    repository = deployable(tmp_path, "onnx", "embed", release="24.10")
    made = render("vertex", repository, tmp_path / "deploy.yaml")
    found = {one.path: one.content for one in made.files}
    spec = json.loads(found["upload-model.json"])["model"]["containerSpec"]
    # What Vertex tells a container.
    monkeypatch.setenv("AIP_MODE", "PREDICTION")
    monkeypatch.setenv("AIP_HTTP_PORT", "8080")
    monkeypatch.setenv("AIP_HEALTH_ROUTE", spec["healthRoute"])
    monkeypatch.setenv("AIP_PREDICT_ROUTE", spec["predictRoute"])
    served = written(tmp_path, spec["predictRoute"].split("/")[3], found["call.json"])
    words = [word for word in spec["args"] if word.startswith(("--allow-vertex", "--allow-http"))]
    with triton.serving(served, tmp_path, *words) as server:
        url = f"http://{server.http}"
        assert httpx.get(url + spec["healthRoute"], timeout=60).status_code == 200
        answer = httpx.post(url + spec["predictRoute"], content=found["call.json"], timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == ["yes"]


def test_the_written_call_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deploy.yaml").write_text(SETTINGS)
    repository = deployable(tmp_path, "onnx", "embed", release="24.10")
    made = render("sagemaker", repository, tmp_path / "deploy.yaml")
    found = {one.path: one.content for one in made.files}
    environment = json.loads(found["create-model.json"])["PrimaryContainer"]["Environment"]
    name = environment["SAGEMAKER_TRITON_DEFAULT_MODEL_NAME"]
    served = written(tmp_path, name, found["call.json"])
    (port,) = process.free_ports(1)
    words = ("--allow-sagemaker=true", f"--sagemaker-port={port}")
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    # Triton opens this port before that of the metrics, for which `serving` waits.
    with (
        triton.serving(served, tmp_path, *words),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        assert client.get("/ping").status_code == 200
        kind = {"Content-Type": "application/json"}
        answer = client.post("/invocations", content=found["call.json"], headers=kind)
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == ["yes"]

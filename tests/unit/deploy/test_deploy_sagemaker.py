"""SageMaker's requests, and what its endpoints cannot do."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.deployments import deployable, refuses
from trtbuild.errors import TrtbuildError
from trtbuild_deploy.jobs.render import render

SETTINGS = """
name: chat
replicas: 2
weights: {from: s3, reference: "s3://models/chat", size: 16Gi}
sagemaker:
  image: 123456789012.dkr.ecr.eu-west-1.amazonaws.com/chat:1
  role: arn:aws:iam::123456789012:role/sagemaker
  instanceType: ml.g6e.xlarge
"""


def files(
    root: Path, settings: str = SETTINGS, builder: str = "vllm", case: str = "plain", **more: Any
) -> dict[str, Any]:
    file = root / "deploy.yaml"
    file.write_text(settings)
    found = render("sagemaker", deployable(root, builder, case, **more), file).files
    return {
        one.path: json.loads(one.content) if one.path.endswith(".json") else one.content.decode()
        for one in found
    }


def test_a_stream_is_generated(tmp_path: Path) -> None:
    found = files(tmp_path)
    model = found["create-model.json"]
    container = model["PrimaryContainer"]
    environment = container["Environment"]
    assert environment["SAGEMAKER_TRITON_INFERENCE_TYPE"] == "generate_stream"
    assert environment["SAGEMAKER_TRITON_DEFAULT_MODEL_NAME"] == "llama"
    assert container["ModelDataSource"]["S3DataSource"]["S3Uri"] == "s3://models/chat/"
    (variant,) = found["create-endpoint-config.json"]["ProductionVariants"]
    assert variant["ModelName"] == model["ModelName"]
    assert variant["InitialInstanceCount"] == 2
    assert 60 <= variant["ContainerStartupHealthCheckTimeoutInSeconds"] <= 3600
    endpoint = found["create-endpoint.json"]
    assert (
        endpoint["EndpointConfigName"] == found["create-endpoint-config.json"]["EndpointConfigName"]
    )
    assert "text_input" in found["call.json"]
    assert "ln -s /opt/ml/model /models" in found["Dockerfile"]


FAKE = """
class client:
    def __init__(self, service):
        assert service == "sagemaker-runtime"
    def invoke_endpoint_with_response_stream(self, *, EndpointName, ContentType, Body):
        assert (EndpointName, ContentType, Body) == ("chat", "application/json", b"{}")
        return {"Body": [{"PayloadPart": {"Bytes": part}} for part in ("ä".encode()[:1], b"\\xa4")]}
"""


def test_the_call_of_a_model_that_streams_writes_the_answer(tmp_path: Path) -> None:
    """The AWS CLI has no such call, so the printed one runs here with another boto3."""
    (tmp_path / "deploy.yaml").write_text(SETTINGS)
    call = render("sagemaker", deployable(tmp_path), tmp_path / "deploy.yaml").rendered.next[-1]
    (tmp_path / "boto3.py").write_text(FAKE, encoding="utf-8")
    (tmp_path / "call.json").write_text("{}")
    program, *words = shlex.split(call)
    assert program == "python3"
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout.decode() == "ä"


def test_a_model_that_answers_once_is_inferred(tmp_path: Path) -> None:
    found = files(tmp_path, SETTINGS, "onnx", "embed", release="24.10")
    environment = found["create-model.json"]["PrimaryContainer"]["Environment"]
    assert "SAGEMAKER_TRITON_INFERENCE_TYPE" not in environment
    assert environment["SAGEMAKER_TRITON_ADDITIONAL_ARGS"] == "--load-model=llama_core"
    assert "inputs" in found["call.json"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("from: s3", "from: claim"), "SageMaker fetches"),
        (("name: chat", "gateway: {enabled: true, image: 'g:1'}"), "one container"),
        (("name: chat", "autoscaling: {kind: keda}"), "scalable target"),
        (("name: chat", "gpu: {mode: shared}"), "whole GPUs"),
        (("name: chat", "gpu: {mode: none}\nrehearsalImage: 'i:1'"), "needs GPUs to serve"),
        (("name: chat", "gpu: {count: 16}"), "must fit one"),
        (("name: chat", "server: {secrets: {HF_TOKEN: {name: a, key: b}}}"), "are of Kubernetes"),
        (("  instanceType: ml.g6e.xlarge\n", ""), "sagemaker.instanceType"),
    ],
)
def test_what_an_endpoint_cannot_do_is_refused(
    tmp_path: Path, changes: tuple[str, str], said: str
) -> None:
    settings = SETTINGS.replace(*changes)
    if "autoscaling" in settings:
        settings = settings.replace("replicas: 2\n", "")
    refuses(lambda: files(tmp_path, settings), said)


def test_a_release_without_generate_is_refused_with_one_that_has_it(tmp_path: Path) -> None:
    with pytest.raises(TrtbuildError, match=r"knows /infer only.*--triton 25\.03") as caught:
        files(tmp_path, release="24.10")
    assert caught.value.exit_code == 4

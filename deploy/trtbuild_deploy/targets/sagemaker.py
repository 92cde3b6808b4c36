"""Amazon SageMaker: a real-time endpoint of Triton's own front end for it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from trtbuild.signature import MOUNT
from trtbuild_deploy.facts import Facts
from trtbuild_deploy.settings import Settings
from trtbuild_deploy.target import OutputFile, Rendered
from trtbuild_deploy.workload import Workload, gpu_count, place_of, workload

# From this release on /invocations takes what /generate and /generate_stream take.
_GENERATES_SINCE = "25.03"
_PLACE = "/opt/ml/model"
# SageMaker's own limit of both timeouts, and what it has by default without one.
_LONGEST = 3600
_PYTHON_SHM = 64 << 20
# The AWS CLI reads no event streams; boto3 does.
_STREAMED = """\
import boto3, sys
for event in boto3.client("sagemaker-runtime").invoke_endpoint_with_response_stream(
    EndpointName="%s", ContentType="application/json", Body=open("call.json", "rb").read()
)["Body"]:
    sys.stdout.buffer.write(event["PayloadPart"]["Bytes"])"""


class Sagemaker:
    """One model on one instance type."""

    name = "sagemaker"
    summary = "A real-time endpoint of Amazon SageMaker: image, requests of its API, a call."
    example = """\
weights: {from: s3, reference: "s3://models/chat"}
sagemaker:
  image: 123456789012.dkr.ecr.eu-west-1.amazonaws.com/chat:1
  role: arn:aws:iam::123456789012:role/sagemaker
  instanceType: ml.g6e.xlarge
"""

    def reasons_against(self, facts: Facts, settings: Settings) -> Sequence[str]:
        """Return what an endpoint cannot do."""
        return (*_of_model(facts, settings), *_of_settings(settings))

    def render(self, facts: Facts, settings: Settings) -> Rendered:
        """Return the image, what the API is asked, and a call."""
        load = workload(facts, settings)
        name = f"{load.name}-{facts.digest[:8]}"
        model = facts.models[0]
        requests = {
            "create-model.json": _model(facts, settings, name),
            "create-endpoint-config.json": _configuration(settings, load, name),
            "create-endpoint.json": {"EndpointName": load.name, "EndpointConfigName": name},
            "call.json": dict(model.probe.body),
        }
        files = [
            OutputFile(path, json.dumps(value, indent=2).encode() + b"\n")
            for path, value in requests.items()
        ]
        files.append(OutputFile("Dockerfile", _dockerfile(facts, settings)))
        return Rendered(
            tuple(sorted(files, key=lambda file: file.path)),
            notes=(*facts.notes, *_notes(facts)),
            next=tuple(_next(settings, load.name, streams=model.decoupled)),
        )


def _of_model(facts: Facts, settings: Settings) -> Iterator[str]:
    if len(facts.models) != 1:
        names = ", ".join(model.name for model in facts.models)
        yield f"an endpoint answers for one model, and clients call {names}: deploy them apart"
    if any(model.decoupled for model in facts.models) and facts.release < _GENERATES_SINCE:
        yield (
            f"{facts.models[0].name} may send several responses, and /invocations of Triton "
            f"{facts.release} knows /infer only: convert it with --triton {_GENERATES_SINCE} or "
            "newer"
        )
    if facts.models and not facts.models[0].probe.body:
        yield f"no call of {facts.models[0].name} is known: its task takes no text"
    if facts.layout != "plain":
        yield "SageMaker starts tritonserver itself, and this engine's ranks need MPI: use helm"
    if gpu_count(facts, settings) > settings.gpu.per_node:
        yield "an endpoint's instances do not know each other: a replica must fit one"
    if place_of(facts, settings) == "embedded":
        yield "'gpu.mode' none rehearses this model, which needs GPUs to serve: leave it out"


def _of_settings(settings: Settings) -> Iterator[str]:
    own, weights = settings.sagemaker, settings.weights
    if settings.gpu.mode not in ("plugin", "none"):
        yield f"'gpu.mode' {settings.gpu.mode} is for Kubernetes: an instance has whole GPUs"
    if settings.gateway.enabled:
        yield "'gateway.enabled': an endpoint has one container and three routes: use helm"
    if settings.autoscaling.kind != "none":
        yield "'autoscaling.kind' is for Kubernetes: register the variant as scalable target"
    if settings.server.secrets:
        yield "'server.secrets' are of Kubernetes: a model's environment is readable in the console"
    if weights.source != "s3":
        yield "SageMaker fetches the repository: give 'weights.from' s3 and 'weights.reference'"
    lacking = [
        key for key in ("image", "role", "instanceType") if not own.model_dump(by_alias=True)[key]
    ]
    if lacking:
        yield f"nothing can be created without {', '.join(f'sagemaker.{key}' for key in lacking)}"


def _model(facts: Facts, settings: Settings, name: str) -> dict[str, Any]:
    source = {
        "S3DataSource": {
            "S3Uri": f"{settings.weights.reference.rstrip('/')}/",
            "S3DataType": "S3Prefix",
            "CompressionType": "None",
        }
    }
    return {
        "ModelName": name,
        "ExecutionRoleArn": settings.sagemaker.role,
        "EnableNetworkIsolation": True,
        "PrimaryContainer": {
            "Image": settings.sagemaker.image,
            "ModelDataSource": source,
            "Environment": _environment(facts, settings),
        },
        "Tags": [{"Key": "trtbuild-repository", "Value": facts.digest}],
    }


def _environment(facts: Facts, settings: Settings) -> dict[str, str]:
    """NVIDIA's start script reads these; its own defaults are a chatty log and 16 MB."""
    found = {
        "SAGEMAKER_TRITON_DEFAULT_MODEL_NAME": facts.models[0].name,
        "SAGEMAKER_TRITON_LOG_VERBOSE": "false",
        "SAGEMAKER_TRITON_SHM_DEFAULT_BYTE_SIZE": str(_PYTHON_SHM),
    }
    # The start script loads the default model alone.
    behind = [f"--load-model={one}" for one in facts.directories if one != facts.models[0].name]
    if behind:
        found["SAGEMAKER_TRITON_ADDITIONAL_ARGS"] = " ".join(behind)
    if facts.models[0].decoupled:
        found["SAGEMAKER_TRITON_INFERENCE_TYPE"] = "generate_stream"
    return {**facts.environment, **found, **settings.server.env}


def _configuration(settings: Settings, load: Workload, name: str) -> dict[str, Any]:
    seconds = min(_LONGEST, 2 * load.load_seconds)
    variant = {
        "VariantName": "main",
        "ModelName": name,
        "InstanceType": settings.sagemaker.instance_type,
        "InitialInstanceCount": max(1, settings.replicas or 1),
        "ModelDataDownloadTimeoutInSeconds": _LONGEST,
        "ContainerStartupHealthCheckTimeoutInSeconds": max(60, seconds),
    }
    return {"EndpointConfigName": name, "ProductionVariants": [variant]}


def _dockerfile(facts: Facts, settings: Settings) -> bytes:
    """SageMaker puts the repository elsewhere than its files name each other by."""
    image = settings.image or facts.image
    return f"FROM {image}\nRUN rmdir {MOUNT} 2>/dev/null; ln -s {_PLACE} {MOUNT}\n".encode()


def _notes(facts: Facts) -> Iterator[str]:
    if facts.from_hub:
        yield (
            "weights come from the hub, which network isolation forbids: convert with "
            "`weights: copy`"
        )
    yield "SageMaker gives a container its own /dev/shm: no definition sets its size"


def _next(settings: Settings, name: str, *, streams: bool) -> Iterator[str]:
    yield f"docker build -t {settings.sagemaker.image} . && docker push {settings.sagemaker.image}"
    yield f"aws s3 sync model_repository {settings.weights.reference} --exclude trtbuild.lock"
    for step in ("create-model", "create-endpoint-config", "create-endpoint"):
        yield f"aws sagemaker {step} --cli-input-json file://{step}.json"
    if streams:
        yield f"python3 -c {shlex.quote(_STREAMED % name)}"
    else:
        yield (
            f"aws sagemaker-runtime invoke-endpoint --endpoint-name {name} "
            "--content-type application/json --body fileb://call.json answer"
        )


target = Sagemaker()

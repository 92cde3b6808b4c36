"""Google Vertex AI: a custom container behind an endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from trtbuild.signature import MOUNT
from trtbuild_deploy.facts import Facts
from trtbuild_deploy.settings import Settings
from trtbuild_deploy.target import OutputFile, Rendered
from trtbuild_deploy.workload import HTTP, Workload, gpu_count, place_of, workload

_LONGEST = 7200  # seconds of deploymentTimeout, by the API's description


class Vertex:
    """Triton's own HTTP routes; its Vertex front end knows no generated text."""

    name = "vertex"
    summary = "An endpoint of Google Vertex AI: image, requests of its API, a call."
    example = """\
vertex:
  image: europe-docker.pkg.dev/project/models/chat:1
  machineType: g2-standard-12
  accelerator: NVIDIA_L4
"""

    def reasons_against(self, facts: Facts, settings: Settings) -> Sequence[str]:
        """Return what an endpoint cannot do."""
        return (*_of_model(facts, settings), *_of_settings(settings))

    def render(self, facts: Facts, settings: Settings) -> Rendered:
        """Return the image, what the API is asked, and a call."""
        load = workload(facts, settings)
        requests = {
            "upload-model.json": {"model": _model(facts, settings, load)},
            "deploy-model.json": _deployment(facts, settings, load),
            "call.json": dict(facts.models[0].probe.body),
        }
        files = [
            OutputFile(path, json.dumps(value, indent=2).encode() + b"\n")
            for path, value in requests.items()
        ]
        image = settings.image or facts.image
        content = f"FROM {image}\nCOPY . {MOUNT}\n".encode()
        files.append(OutputFile("Dockerfile", content))
        return Rendered(
            tuple(sorted(files, key=lambda file: file.path)),
            notes=facts.notes,
            next=tuple(_next(facts, settings)),
        )


def _of_model(facts: Facts, settings: Settings) -> Iterator[str]:
    if len(facts.models) != 1:
        names = ", ".join(model.name for model in facts.models)
        yield f"an endpoint has one prediction route, and clients call {names}: deploy them apart"
    if facts.models and not facts.models[0].probe.body:
        yield f"no call of {facts.models[0].name} is known: its task takes no text"
    if gpu_count(facts, settings) > settings.gpu.per_node:
        yield "an endpoint's replicas do not know each other: a replica must fit one machine"
    if place_of(facts, settings) == "embedded":
        yield "'gpu.mode' none rehearses this model, which needs GPUs to serve: leave it out"


def _of_settings(settings: Settings) -> Iterator[str]:
    own = settings.vertex
    if settings.gpu.mode not in ("plugin", "none"):
        yield f"'gpu.mode' {settings.gpu.mode} is for Kubernetes: a machine has whole GPUs"
    if settings.gateway.enabled:
        yield "'gateway.enabled': an endpoint has one container and one route: use helm"
    if settings.autoscaling.kind != "none":
        yield "'autoscaling.kind' is for Kubernetes: give the deployed model a maxReplicaCount"
    if settings.server.secrets:
        yield "'server.secrets' are of Kubernetes: a model's environment is readable in the console"
    if not own.image or not own.machine_type:
        yield "nothing can be created without 'vertex.image' and 'vertex.machineType'"
    if settings.gpu.mode == "plugin" and own.machine_type and not own.accelerator:
        yield "'vertex.accelerator' is missing, such as NVIDIA_L4; without a GPU give gpu.mode none"


def _model(facts: Facts, settings: Settings, load: Workload) -> dict[str, Any]:
    environment = {**load.server.env, **settings.server.env}
    return {
        "displayName": f"{load.name}-{facts.digest[:8]}",
        "labels": {"trtbuild-repository": facts.digest[:32]},
        "containerSpec": {
            "imageUri": settings.vertex.image,
            # Vertex sets AIP_MODE, which turns Triton's HTTP port off and its front end on.
            "args": [*load.server.command, "--allow-vertex-ai=false", "--allow-http=true"],
            "env": [{"name": key, "value": value} for key, value in sorted(environment.items())],
            "ports": [{"containerPort": HTTP}],
            "healthRoute": "/v2/health/ready",
            "predictRoute": facts.models[0].probe.path,
            "sharedMemorySizeMb": str(facts.shm_bytes >> 20),
            "deploymentTimeout": f"{min(_LONGEST, max(1800, 4 * load.load_seconds))}s",
        },
    }


def _deployment(facts: Facts, settings: Settings, load: Workload) -> dict[str, Any]:
    count = gpu_count(facts, settings)
    replicas = max(1, settings.replicas or 1)
    machine: dict[str, Any] = {"machineType": settings.vertex.machine_type}
    if count:
        machine |= {"acceleratorType": settings.vertex.accelerator, "acceleratorCount": count}
    model = {
        "model": "MODEL",  # its name is known when it has been uploaded
        "displayName": f"{load.name}-{facts.digest[:8]}",
        "dedicatedResources": {
            "machineSpec": machine,
            "minReplicaCount": replicas,
            "maxReplicaCount": replicas,
        },
    }
    return {"deployedModel": model, "trafficSplit": {"0": 100}}


def _next(facts: Facts, settings: Settings) -> Iterator[str]:
    image = settings.vertex.image
    yield f"docker build -t {image} -f Dockerfile {facts.repository} && docker push {image}"
    yield "POST …/locations/REGION/models:upload with upload-model.json"
    yield "POST …/endpoints/ENDPOINT:deployModel with deploy-model.json, MODEL replaced"
    verb = "streamRawPredict" if facts.models[0].decoupled else "rawPredict"
    yield f"POST …/endpoints/ENDPOINT:{verb} with call.json"


target = Vertex()

"""Azure Machine Learning: a managed online endpoint with a container of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from trtbuild.signature import MOUNT
from trtbuild_deploy.facts import Facts
from trtbuild_deploy.settings import Settings
from trtbuild_deploy.target import OutputFile, Rendered
from trtbuild_deploy.targets.yamltext import yaml_bytes
from trtbuild_deploy.workload import CACHE, HTTP, Workload, gpu_count, name_in, place_of, workload

_HEADER = "Written by trtbuild deploy azureml; `trtbuild deploy diff` shows edits."
_SCHEMAS = "https://azuremlschemas.azureedge.net/latest"
_LONGEST_MS = 180_000  # of a request, by the schema's reference; 5 s without the key
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]{1,30}[a-zA-Z0-9]")
_PERIOD = 10


class Azureml:
    """Triton behind the endpoint's address: the whole path reaches it."""

    name = "azureml"
    summary = "A managed online endpoint of Azure Machine Learning: image, definitions, a call."
    example = """\
name: chat
azureml:
  image: registry.azurecr.io/chat:1
  instanceType: Standard_NC24ads_A100_v4
"""

    def reasons_against(self, facts: Facts, settings: Settings) -> Sequence[str]:
        """Return what an endpoint cannot do."""
        return (*_of_model(facts, settings), *_of_settings(settings))

    def render(self, facts: Facts, settings: Settings) -> Rendered:
        """Return the image, the endpoint, its deployment, and a call."""
        load = workload(facts, settings)
        name = _deployment_name(facts)
        files = [
            OutputFile("Dockerfile", _dockerfile(facts, settings, load)),
            OutputFile(
                "call.json", json.dumps(dict(_asked(facts).body), indent=2).encode() + b"\n"
            ),
            OutputFile("deployment.yaml", yaml_bytes(_deployment(facts, settings, load), _HEADER)),
            OutputFile("endpoint.yaml", yaml_bytes(_endpoint(load), _HEADER)),
        ]
        return Rendered(
            tuple(files),
            notes=(*facts.notes, *_notes(facts)),
            next=tuple(_next(facts, settings, load.name, name)),
        )


def _asked(facts: Facts) -> Any:
    """The request of the first model whose call is known."""
    return next(model.probe for model in facts.models if model.probe.body)


def _deployment_name(facts: Facts) -> str:
    """Another repository is another deployment beside the old one."""
    return f"r{facts.digest[:8]}"


def _of_model(facts: Facts, settings: Settings) -> Iterator[str]:
    if not any(model.probe.body for model in facts.models):
        names = ", ".join(model.name for model in facts.models)
        yield f"no call of {names} is known: its task takes no text"
    if gpu_count(facts, settings) > settings.gpu.per_node:
        yield "an endpoint's instances do not know each other: a replica must fit one"
    if place_of(facts, settings) == "embedded":
        yield "'gpu.mode' none rehearses this model, which needs GPUs to serve: leave it out"
    name = name_in(facts, settings)
    if not _NAME.fullmatch(name):
        yield (
            f"'name' {name}: an endpoint's name has 3 to 32 letters, digits and hyphens, a letter "
            "first"
        )


def _of_settings(settings: Settings) -> Iterator[str]:
    own = settings.azureml
    if settings.gpu.mode not in ("plugin", "none"):
        yield f"'gpu.mode' {settings.gpu.mode} is for Kubernetes: an instance has whole GPUs"
    if settings.gateway.enabled:
        yield "'gateway.enabled': a deployment has one container: use helm"
    if settings.autoscaling.kind != "none":
        yield "'autoscaling.kind' is for Kubernetes: give the deployment an autoscale setting"
    if settings.server.secrets:
        yield "'server.secrets' are of Kubernetes: a deployment's environment is readable"
    if not own.image or not own.instance_type:
        yield "nothing can be created without 'azureml.image' and 'azureml.instanceType'"


def _endpoint(load: Workload) -> dict[str, Any]:
    return {
        "$schema": f"{_SCHEMAS}/managedOnlineEndpoint.schema.json",
        "name": load.name,
        "auth_mode": "key",
    }


def _deployment(facts: Facts, settings: Settings, load: Workload) -> dict[str, Any]:
    environment = {**load.server.env, **settings.server.env}
    failures = max(30, -(-2 * load.load_seconds // _PERIOD))
    return {
        "$schema": f"{_SCHEMAS}/managedOnlineDeployment.schema.json",
        "name": _deployment_name(facts),
        "endpoint_name": load.name,
        "tags": {"trtbuild-repository": facts.digest},
        "environment": {
            "name": f"{load.name}-{facts.digest[:8]}",
            "image": settings.azureml.image,
            "inference_config": {
                "liveness_route": {"port": HTTP, "path": "/v2/health/live"},
                "readiness_route": {"port": HTTP, "path": "/v2/health/ready"},
                "scoring_route": {"port": HTTP, "path": "/"},
            },
        },
        **({"environment_variables": dict(sorted(environment.items()))} if environment else {}),
        "instance_type": settings.azureml.instance_type,
        "instance_count": max(1, settings.replicas or 1),
        "request_settings": {
            "request_timeout_ms": _LONGEST_MS,
            "max_concurrent_requests_per_instance": settings.azureml.concurrency,
        },
        # Triton is live before its models are loaded, so only the other probe waits for them.
        "liveness_probe": {"period": _PERIOD, "timeout": 5, "failure_threshold": 30},
        "readiness_probe": {"period": _PERIOD, "timeout": 5, "failure_threshold": failures},
    }


def _dockerfile(facts: Facts, settings: Settings, load: Workload) -> bytes:
    """A deployment has no field for the command; files of a repository name each other by MOUNT."""
    command = json.dumps(list(load.server.command))
    image = settings.image or facts.image
    cache = f"RUN mkdir -p {CACHE} && chmod 1777 {CACHE}"  # whoever the image runs as
    return f"FROM {image}\n{cache}\nCOPY . {MOUNT}\nCMD {command}\n".encode()


def _notes(facts: Facts) -> Iterator[str]:
    yield "a request ends after 180 s, streams too: that is the endpoint's limit"
    wanted = facts.shm_bytes >> 20
    yield f"no definition sets the size of /dev/shm; this repository wants {wanted} MiB"


def _next(facts: Facts, settings: Settings, endpoint: str, name: str) -> Iterator[str]:
    image = settings.azureml.image
    yield f"docker build -t {image} -f Dockerfile {facts.repository} && docker push {image}"
    yield "az ml online-endpoint create -f endpoint.yaml"
    yield "az ml online-deployment create -f deployment.yaml"
    yield (
        "curl -H 'Authorization: Bearer KEY' -H 'Content-Type: application/json' -d @call.json "
        f"https://{endpoint}.REGION.inference.ml.azure.com{_asked(facts).path}"
    )
    yield f"az ml online-endpoint update -n {endpoint} --traffic {name}=100"


target = Azureml()

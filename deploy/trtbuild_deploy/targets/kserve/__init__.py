"""KServe: a ServingRuntime for the repository's image, and an InferenceService of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trtbuild.signature import MOUNT
from trtbuild_deploy.facts import Facts
from trtbuild_deploy.resources import data_file
from trtbuild_deploy.settings import Settings
from trtbuild_deploy.target import OutputFile, Rendered
from trtbuild_deploy.targets.kserve.container import CONTAINER, mebibytes, serving_container
from trtbuild_deploy.targets.yamltext import documents_bytes
from trtbuild_deploy.workload import Workload, gpu_count, name_in, workload

_HEADER = "Written by trtbuild deploy kserve; `trtbuild deploy diff` shows edits."
_FILE = "kserve.yaml"


class Kserve:
    """KServe 0.20 in Standard mode, without Knative."""

    name = "kserve"
    summary = "A ServingRuntime and an InferenceService of KServe, with a canary."

    def reasons_against(self, facts: Facts, settings: Settings) -> Sequence[str]:
        """Return what an InferenceService cannot do."""
        return tuple(_reasons(facts, settings))

    def render(self, facts: Facts, settings: Settings) -> Rendered:
        """Return one file with the runtime, its probe and the service."""
        load = workload(facts, settings)
        documents = (
            _probe(facts, load),
            _runtime(facts, settings, load),
            _service(facts, settings, load),
        )
        return Rendered(
            (OutputFile(_FILE, documents_bytes(documents, _HEADER)),),
            notes=(*facts.notes, *_notes(facts, settings, load)),
            next=(
                f"kubectl apply -f {_FILE}",
                f"kubectl wait --for=condition=Ready inferenceservice/{load.name} "
                f"--timeout={2 * load.load_seconds}s",
            ),
        )


def _reasons(facts: Facts, settings: Settings) -> Iterator[str]:
    weights, canary = settings.weights, settings.kserve.stable
    if gpu_count(facts, settings) > settings.gpu.per_node:
        yield "KServe starts vLLM's own server on several nodes, not Triton: use the target helm"
    if settings.gpu.mode == "dra":
        yield "'gpu.mode' dra needs a claim for each pod: use the target helm"
    if settings.gateway.enabled:
        yield (
            "'gateway.enabled': KServe routes only to Triton's container in a pod: "
            "deploy the gateway by itself, or use the target helm"
        )
    if settings.autoscaling.kind != "none":
        yield (
            f"'autoscaling.kind' {settings.autoscaling.kind}: this target writes a fixed number of "
            "replicas, because a canary cannot have an autoscaler: use the target helm"
        )
    if (weights.secret or weights.endpoint) and not settings.kserve.service_account:
        yield (
            "'weights.secret' and 'weights.endpoint': KServe takes both from a ServiceAccount: "
            "give 'kserve.serviceAccount'"
        )
    if weights.source == "image" and weights.path not in ("", "models"):
        yield "'weights.path' in an image: KServe mounts the directory 'models': leave it out"
    if canary and canary.version == _version(facts):
        yield f"'kserve.stable.version' {canary.version} is this repository: leave 'stable' out"
    if canary and canary.storage == _storage(facts, settings):
        yield (
            f"'kserve.stable.storage' {canary.storage} also holds this repository: give "
            "each version a place of its own ('weights.path')"
        )


def _version(facts: Facts) -> str:
    """A name that another repository does not have."""
    return f"r{facts.digest[:8]}"


def _runtime_name(facts: Facts, load: Workload) -> str:
    return f"{load.name}-{_version(facts)}"


def _storage(facts: Facts, settings: Settings) -> str:
    """The repository as KServe's storage URI."""
    weights = settings.weights
    if weights.source == "claim":
        claim = weights.claim or f"{name_in(facts, settings)}-models"
        return f"pvc://{claim}/{weights.path}".rstrip("/")
    if weights.source == "image":
        return f"oci+native://{weights.reference}"
    if weights.source == "hub":
        return f"hf://{weights.reference.replace('@', ':')}"
    return weights.reference


def _metadata(name: str, **more: Mapping[str, str]) -> dict[str, Any]:
    labels = {"app.kubernetes.io/managed-by": "trtbuild", "app.kubernetes.io/name": name}
    return {"name": name, "labels": labels, **more}


def _probe(facts: Facts, load: Workload) -> dict[str, Any]:
    script = data_file("chart", "files", "probe.py").read_text(encoding="utf-8")
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(f"{_runtime_name(facts, load)}-probe"),
        "data": {"probe.py": script, "probe.json": json.dumps(load.probe, indent=2)},
    }


def _runtime(facts: Facts, settings: Settings, load: Workload) -> dict[str, Any]:
    """One for each repository: a canary runs another image with other limits."""
    name = _runtime_name(facts, load)
    own = settings.server
    annotations = {
        "trtbuild.dev/repository": facts.digest,
        "trtbuild.dev/load-seconds": str(load.load_seconds),
        "trtbuild.dev/builders": " ".join(facts.builders),
    }
    spec: dict[str, Any] = {
        "annotations": annotations,
        "supportedModelFormats": [{"name": "triton", "version": "2", "autoSelect": False}],
        "protocolVersions": ["v2", "grpc-v2"],
        "containers": [serving_container(settings, load)],
        "volumes": [
            {
                "name": "shm",
                "emptyDir": {"medium": "Memory", "sizeLimit": mebibytes(facts.shm_bytes)},
            },
            {"name": "cache", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "probe", "configMap": {"name": f"{name}-probe"}},
        ],
    }
    if own.pull_secrets:
        spec["imagePullSecrets"] = [{"name": secret} for secret in own.pull_secrets]
    if own.node_selector:
        spec["nodeSelector"] = dict(own.node_selector)
    if own.tolerations:
        spec["tolerations"] = [
            {key: value for key, value in one.model_dump().items() if value}
            for one in own.tolerations
        ]
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": _metadata(name, annotations=annotations),
        "spec": spec,
    }


def _service(facts: Facts, settings: Settings, load: Workload) -> dict[str, Any]:
    """This repository alone, or as canary beside the stable one."""
    stable = settings.kserve.stable
    this = _predictor(settings, load, _version(facts), _storage(facts, settings))
    spec: dict[str, Any] = {"predictor": this}
    if stable:
        # The CRD wants the container's name in a canary, and the webhook refuses it elsewhere.
        this["model"]["name"] = CONTAINER
        this["minReplicas"] = min(this["minReplicas"], 1)
        spec["predictor"] = _predictor(settings, load, stable.version, stable.storage)
        spec["canary"] = [{"trafficPercent": settings.kserve.percent, "predictor": this}]
    annotations = {
        "serving.kserve.io/deploymentMode": "Standard",
        # Without it KServe scales by the CPU, which says nothing about a GPU's load.
        "serving.kserve.io/autoscalerClass": "none",
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": _metadata(load.name, annotations=annotations),
        "spec": spec,
    }


def _predictor(settings: Settings, load: Workload, version: str, storage: str) -> dict[str, Any]:
    own = settings.server
    surge = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    found: dict[str, Any] = {
        "name": version,
        "minReplicas": 1 if settings.replicas is None else settings.replicas,
        "model": {
            "modelFormat": {"name": "triton", "version": "2"},
            "protocolVersion": "v2",
            "runtime": f"{load.name}-{version}",
        },
        # Not below /mnt/models: files of a repository name each other below its mount point.
        "storageUris": [{"uri": storage, "mountPath": MOUNT}],
        "terminationGracePeriodSeconds": load.grace_seconds,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": own.user,
            "runAsGroup": own.user,
            "fsGroup": own.user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "deploymentStrategy": surge if own.strategy == "surge" else {"type": "Recreate"},
    }
    if settings.kserve.service_account:
        found["serviceAccountName"] = settings.kserve.service_account
    if own.runtime_class:
        found["runtimeClassName"] = own.runtime_class
    return found


def _notes(facts: Facts, settings: Settings, load: Workload) -> Iterator[str]:
    stable, version = settings.kserve.stable, _version(facts)
    yield from (f"signal {signal.name}: {signal.missing}" for signal in load.metrics.missing)
    yield from load.metrics.unread
    if "@sha256:" not in load.server.image:
        yield f"{load.server.image} is a tag, which can move: give 'image' by digest"
    if stable:
        yield (
            f"{version} gets {settings.kserve.percent} % of the requests; to promote it take "
            f"'kserve.stable' out of deploy.yaml, to roll back deploy {stable.version} again"
        )
    else:
        yield (
            f"to try another repository beside this one, deploy it with 'kserve.stable' "
            f"{{version: {version}, storage: {_storage(facts, settings)}}}"
        )
    if settings.weights.source == "image":
        yield "KServe needs enableOciModelSupport in its ConfigMap, and Kubernetes image volumes"


target = Kserve()

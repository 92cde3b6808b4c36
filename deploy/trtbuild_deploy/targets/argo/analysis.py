"""How a new version is judged: by its metrics while it serves, and by a job before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trtbuild.signature import MOUNT, ServedTask
from trtbuild_deploy.facts import Facts
from trtbuild_deploy.settings import Settings
from trtbuild_deploy.workload import GATEWAY, HTTP, Analysis, Workload, analyses

GATE, METRICS = "gate", "metrics"

# The arguments of the analysis: which pods are new, which stable, and where.
ARGUMENTS: list[dict[str, Any]] = [
    {"name": "hash", "valueFrom": {"podTemplateHashValue": "Latest"}},
    {"name": "stable", "valueFrom": {"podTemplateHashValue": "Stable"}},
    {"name": "namespace", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
]
_NEEDED = [{"name": one["name"]} for one in ARGUMENTS]
_API_KEY = "TRTBUILD_API_KEY"


def metrics_template(settings: Settings, load: Workload, count: int | None) -> dict[str, Any]:
    """Return what is asked every half minute; ``count`` times, or until the rollout ends."""
    found = analyses(load.metrics, settings, _match(load.name, "hash"), _match(load.name, "stable"))
    metrics = [_metric(one, settings, count) for one in found]
    return _template(f"{load.name}-{METRICS}", {"args": _NEEDED, "metrics": metrics})


def _match(name: str, version: str) -> str:
    return f'namespace="{{{{args.namespace}}}}",pod=~"{name}-{{{{args.{version}}}}}-.+"'


def _metric(one: Analysis, settings: Settings, count: int | None) -> dict[str, Any]:
    """Without requests there is no series, or not a number: that is inconclusive where a value is
    needed, so the rollout waits for somebody instead of promoting what nobody has used."""
    seen = "len(result) > 0 && !isNaN(result[0])"
    good = f"{seen} && result[0] <= {one.limit:g}"
    found: dict[str, Any] = {
        "name": one.name.replace("_", "-"),
        "initialDelay": "60s",
        "interval": "30s",
        "successCondition": good if one.needed else f"!({seen}) || result[0] <= {one.limit:g}",
        "failureCondition": f"{seen} && result[0] > {one.limit:g}",
        "failureLimit": 1,
        "inconclusiveLimit": 10,
        "consecutiveErrorLimit": 4,
        "provider": {
            "prometheus": {
                "address": settings.argo.prometheus,
                "query": one.query,
                "timeout": 20,
            }
        },
    }
    return found if count is None else {**found, "count": count}


def gate_template(facts: Facts, settings: Settings, load: Workload, service: str) -> dict[str, Any]:
    """Return the job that asks the new version before users do."""
    job = {
        "backoffLimit": 0,
        "activeDeadlineSeconds": 3600,
        "template": {
            "metadata": {"labels": {"app.kubernetes.io/name": f"{load.name}-gate"}},
            "spec": _pod(facts, settings, load, service),
        },
    }
    metric = {"name": "gate", "failureLimit": 0, "provider": {"job": {"spec": job}}}
    return _template(f"{load.name}-{GATE}", {"metrics": [metric]})


def _pod(facts: Facts, settings: Settings, load: Workload, service: str) -> dict[str, Any]:
    user = settings.server.user
    secrets = [{"name": name} for name in settings.server.pull_secrets]
    return {
        **({"imagePullSecrets": secrets} if secrets else {}),
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": user,
            "fsGroup": user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [_container("verify", _verify(settings, service), settings)],
        "containers": [_container("bench", _bench(facts, settings, service), settings)],
        "volumes": list(_volumes(settings, load)),
    }


def _container(name: str, args: list[str], settings: Settings) -> dict[str, Any]:
    key, env = settings.gate.key, [{"name": "HOME", "value": "/tmp"}]  # noqa: S108 - in the pod
    secret: list[dict[str, Any]] = []
    if key:
        secret = [{"name": _API_KEY, "valueFrom": {"secretKeyRef": key.model_dump()}}]
    mounts: list[dict[str, Any]] = [
        {"name": "models", "mountPath": MOUNT, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the pod
    ]
    if settings.weights.path:
        mounts[0]["subPath"] = settings.weights.path
    if settings.gate.golden:
        mounts.append({"name": "golden", "mountPath": "/etc/golden", "readOnly": True})
    return {
        "name": name,
        "image": settings.gate.image,
        "imagePullPolicy": "IfNotPresent",
        "args": args,
        "env": [*env, *secret],
        "resources": {
            "requests": {"cpu": "1", "memory": "2Gi"},
            "limits": {"memory": "2Gi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }


def _verify(settings: Settings, service: str) -> list[str]:
    words = ["trtbuild", "deploy", "verify", MOUNT, "--url", f"{service}:{HTTP}"]
    words += ["--gateway", f"http://{service}:{GATEWAY}"]
    return words + (["--golden", "/etc/golden/golden.jsonl"] if settings.gate.golden else [])


def _bench(facts: Facts, settings: Settings, service: str) -> list[str]:
    """The first model that makes text, through the gateway as users ask; else the first one."""
    gate = settings.gate
    texts = [model.name for model in facts.models if ServedTask(model.task).makes_text]
    target = (
        f"openai:http://{service}:{GATEWAY}/v1#{texts[0]}"
        if texts
        else f"triton:http://{service}:{HTTP}/{facts.models[0].name}"
    )
    words = ["trtbuild", "bench", "run", target, "--slo", gate.slo]
    words += ["--min-in-slo", f"{gate.share:g}", "--rate", f"{gate.rate:g}"]
    words += ["--requests", str(gate.requests)]
    return words + (["--api-key-env", _API_KEY] if gate.key and texts else [])


def _volumes(settings: Settings, load: Workload) -> Iterator[dict[str, Any]]:
    weights = settings.weights
    claim = {"claimName": weights.claim or f"{load.name}-models", "readOnly": True}
    image = {"reference": weights.reference, "pullPolicy": "IfNotPresent"}
    kept = {"image": image} if weights.source == "image" else {"persistentVolumeClaim": claim}
    yield {"name": "models", **kept}
    yield {"name": "tmp", "emptyDir": {}}
    if settings.gate.golden:
        yield {"name": "golden", "configMap": {"name": settings.gate.golden}}


def _template(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisTemplate",
        "metadata": {"name": name},
        "spec": spec,
    }

"""Argo CD's objects: one Application, or a set with one for each environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trtbuild_deploy.settings import Settings

_HERE = "https://kubernetes.default.svc"
# What the Rollouts controller writes is not drift.
_IGNORED: list[dict[str, Any]] = [
    {"kind": "Service", "jsonPointers": ["/spec/selector/rollouts-pod-template-hash"]},
    {
        "group": "gateway.networking.k8s.io",
        "kind": "HTTPRoute",
        "jqPathExpressions": [".spec.rules[].backendRefs[].weight"],
    },
]


def application(name: str, settings: Settings, environment: str) -> dict[str, Any]:
    """Return the Application of one environment."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": f"{name}-{environment}", "namespace": settings.argo.namespace},
        "spec": _spec(name, settings, environment),
    }


def application_set(name: str, settings: Settings, environments: Sequence[str]) -> dict[str, Any]:
    """Return an ApplicationSet; each environment lies in a namespace of its own."""
    elements = [{"environment": one} for one in environments]
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "ApplicationSet",
        "metadata": {"name": name, "namespace": settings.argo.namespace},
        "spec": {
            "goTemplate": True,
            "goTemplateOptions": ["missingkey=error"],
            "generators": [{"list": {"elements": elements}}],
            "template": {
                "metadata": {"name": f"{name}-{{{{.environment}}}}"},
                "spec": _spec(name, settings, "{{.environment}}"),
            },
        },
    }


def _spec(name: str, settings: Settings, environment: str) -> dict[str, Any]:
    argo = settings.argo
    source = {"repoURL": argo.repository, "targetRevision": argo.revision}
    values = ["../values.yaml", f"../values-{environment}.yaml"]
    return {
        "project": argo.project,
        "sources": [
            {
                **source,
                "path": f"{argo.path}/chart",
                "helm": {"releaseName": name, "valueFiles": values},
            },
            {**source, "path": f"{argo.path}/{environment}"},
        ],
        "destination": {"server": _HERE, "namespace": f"{name}-{environment}"},
        "syncPolicy": {
            "automated": {"prune": True, "selfHeal": True},
            "syncOptions": ["CreateNamespace=true", "RespectIgnoreDifferences=true"],
        },
        "ignoreDifferences": _IGNORED,
    }

"""The Rollout of one environment, with the Services and the route that it moves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trtbuild_deploy.facts import Facts
from trtbuild_deploy.settings import Settings
from trtbuild_deploy.targets.argo.analysis import (
    ARGUMENTS,
    GATE,
    METRICS,
    gate_template,
    metrics_template,
)
from trtbuild_deploy.targets.helm import CHART
from trtbuild_deploy.workload import GATEWAY, GRPC, HTTP, Workload, workload

# Five minutes of measurements after a switch from blue to green.
_COUNT = 10
_PORTS = {"http": HTTP, "grpc": GRPC, "openai": GATEWAY}


def documents(facts: Facts, settings: Settings, namespace: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of an environment."""
    load = workload(facts, settings)
    blue_green = settings.argo.strategy == "blueGreen"
    old, new = ("active", "preview") if blue_green else ("stable", "canary")
    yield _service(load, old)
    yield _service(load, new)
    yield _route(settings, load, (old,) if blue_green else (old, new))
    yield metrics_template(settings, load, _COUNT if blue_green else None)
    yield gate_template(facts, settings, load, f"{load.name}-{new}")
    yield _rollout(settings, load, namespace)


def _service(load: Workload, suffix: str) -> dict[str, Any]:
    """The controller adds the hash of a version to the selector."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"{load.name}-{suffix}"},
        "spec": {
            "selector": _selector(load),
            "ports": [
                {"name": name, "port": port, "targetPort": name} for name, port in _PORTS.items()
            ],
        },
    }


def _selector(load: Workload) -> dict[str, str]:
    """The chart's selector, of a release with the deployment's name."""
    return {"app.kubernetes.io/name": CHART, "app.kubernetes.io/instance": load.name}


def _route(settings: Settings, load: Workload, suffixes: tuple[str, ...]) -> dict[str, Any]:
    route = settings.route
    parents = [
        {"name": name, **({"namespace": route.namespace} if route.namespace else {})}
        for name in route.parents
    ]
    refs: list[dict[str, Any]] = [
        {"name": f"{load.name}-{suffix}", "port": GATEWAY, "weight": 100 * (not number)}
        for number, suffix in enumerate(suffixes)
    ]
    spec: dict[str, Any] = {
        "parentRefs": parents,
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "timeouts": {"request": f"{route.timeout}s"},
                "backendRefs": refs,
            }
        ],
    }
    if route.hostnames:
        spec["hostnames"] = list(route.hostnames)
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": load.name},
        "spec": spec,
    }


def _rollout(settings: Settings, load: Workload, namespace: str) -> dict[str, Any]:
    kind = settings.argo.strategy
    strategy = _blue_green(load) if kind == "blueGreen" else _canary(settings, load, namespace)
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": load.name},
        "spec": {
            "replicas": 1 if settings.replicas is None else settings.replicas,
            "revisionHistoryLimit": 5,
            # Later than the startup probe gives up, so that the probe's reason is seen.
            "progressDeadlineSeconds": load.startup.period * load.startup.failures + 300,
            "progressDeadlineAbort": True,
            "selector": {"matchLabels": _selector(load)},
            "workloadRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": load.name,
                "scaleDown": "never",  # the chart gives it no replicas
            },
            "strategy": {kind: strategy},
        },
    }


def _canary(settings: Settings, load: Workload, namespace: str) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        {"setCanaryScale": {"replicas": 1}},
        {"analysis": {"templates": [{"templateName": f"{load.name}-{GATE}"}]}},
        {"setCanaryScale": {"matchTrafficWeight": True}},
    ]
    first = len(steps) + 1
    for percent in settings.argo.steps:
        steps += [{"setWeight": percent}, {"pause": {"duration": settings.argo.pause}}]
    plugin = {"httpRoute": load.name, "namespace": namespace}
    return {
        "canaryService": f"{load.name}-canary",
        "stableService": f"{load.name}-stable",
        "maxSurge": 1,
        "maxUnavailable": 0,
        # Streams that are open when the weight goes back end by themselves.
        "abortScaleDownDelaySeconds": load.grace_seconds,
        "scaleDownDelaySeconds": load.grace_seconds,
        "trafficRouting": {"plugins": {"argoproj-labs/gatewayAPI": plugin}},
        "analysis": {
            "templates": [{"templateName": f"{load.name}-{METRICS}"}],
            "args": ARGUMENTS,
            "startingStep": first,
        },
        "steps": steps,
    }


def _blue_green(load: Workload) -> dict[str, Any]:
    return {
        "activeService": f"{load.name}-active",
        "previewService": f"{load.name}-preview",
        "autoPromotionEnabled": True,
        "prePromotionAnalysis": {"templates": [{"templateName": f"{load.name}-{GATE}"}]},
        "postPromotionAnalysis": {
            "templates": [{"templateName": f"{load.name}-{METRICS}"}],
            "args": ARGUMENTS,
        },
        # The old version waits until the new one was measured; then its streams end.
        "scaleDownDelaySeconds": load.grace_seconds + 60 + 30 * _COUNT,
    }

"""Argo: the chart under a Rollout that judges each version, and applications for environments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from trtbuild_deploy.facts import Facts
from trtbuild_deploy.settings import Settings
from trtbuild_deploy.settings.model import Route
from trtbuild_deploy.target import OutputFile, Rendered
from trtbuild_deploy.targets.argo.applications import application, application_set
from trtbuild_deploy.targets.argo.rollout import documents
from trtbuild_deploy.targets.helm import notes_on_reach, settings_of
from trtbuild_deploy.targets.helm import target as chart
from trtbuild_deploy.targets.yamltext import documents_bytes, yaml_bytes
from trtbuild_deploy.workload import gpu_count, name_in

EXAMPLE = """\
gateway: {enabled: true, image: registry.example.org/gateway:1}
route: {parents: [public], namespace: infra, hostnames: [chat.example.org]}
monitoring: {kind: podMonitor}
gate: {image: registry.example.org/trtbuild:1, slo: "ttft=500ms,tpot=50ms"}
"""
_HEADER = "Written by trtbuild deploy argo; `trtbuild deploy diff` shows edits."


class Argo:
    """Argo Rollouts with the Gateway API plug-in, and Argo CD."""

    name = "argo"
    summary = "The chart under a Rollout of Argo, promoted or rolled back by its metrics."
    example = EXAMPLE

    def reasons_against(self, facts: Facts, settings: Settings) -> Sequence[str]:
        """Return what a Rollout cannot do, and what a verdict needs."""
        return (*chart.reasons_against(facts, _of_chart(settings)), *_reasons(facts, settings))

    def render(self, facts: Facts, settings: Settings) -> Rendered:
        """Return the chart, a Rollout for each environment, and the applications."""
        made = chart.render(facts, _of_chart(settings))
        name = name_in(facts, settings)
        files = list(made.files)
        paths = {file.path for file in files}
        environments = [
            one
            for one in dict.fromkeys(("dev", "staging", "prod", *settings.environments))
            if f"values-{one}.yaml" in paths
        ]
        for one in environments:
            objects = documents(facts, settings_of(one, settings), f"{name}-{one}")
            files.append(OutputFile(f"{one}/rollout.yaml", documents_bytes(objects, _HEADER)))
        if settings.argo.repository:
            files += _applications(name, settings, environments)
        return Rendered(
            tuple(sorted(files, key=lambda file: file.path)),
            notes=(*made.notes, *_notes(settings)),
            next=tuple(_next(name, settings, environments[0])),
        )


def _of_chart(settings: Settings) -> Settings:
    """The chart's own Deployment runs no pod and has no route: the Rollout has both."""
    # Where its Gateway is, the chart must know all the same: its NetworkPolicy lets it in.
    environments = {
        name: {**own, "replicas": 0, "route": {**own.get("route", {}), "parents": []}}
        for name, own in settings.environments.items()
    }
    route = Route(namespace=settings.route.namespace)
    update = {"replicas": 0, "route": route, "environments": environments}
    return settings.model_copy(update=update)


def _reasons(facts: Facts, settings: Settings) -> Iterator[str]:
    if gpu_count(facts, settings) > settings.gpu.per_node:
        yield "a Rollout takes the pods of a Deployment, not of several nodes: use the target helm"
    each = (settings, *(settings_of(one, settings) for one in settings.environments))
    if kinds := {one.autoscaling.kind for one in each} - {"none"}:
        yield (
            f"'autoscaling.kind' {min(kinds)} would scale the chart's Deployment, "
            "whose pods belong to the Rollout: leave it out"
        )
    if not settings.gateway.enabled:
        yield (
            "'gateway.enabled' is off, and nothing else counts failed answers, so no version "
            "could be judged: turn it on"
        )
    if not settings.route.parents:
        yield "'route.parents' is empty: name the Gateway whose weights the Rollout moves"
    if not settings.gate.image or not settings.gate.slo:
        yield "a version is asked before it serves: give 'gate.image' and 'gate.slo'"
    if settings.gateway.keys and not settings.gate.key:
        yield "with 'gateway.keys' the gate needs a key, too: set 'gate.key'"
    if settings.weights.source in ("s3", "hub"):
        yield (
            f"'weights.from' {settings.weights.source}: the gate reads the repository, too; give a "
            "claim or an image"
        )
    if list(settings.argo.steps) != sorted(set(settings.argo.steps)):
        yield f"'argo.steps' {list(settings.argo.steps)} must rise"


def _applications(name: str, settings: Settings, environments: list[str]) -> Iterator[OutputFile]:
    single: dict[str, Any] = application(name, settings, environments[-1])
    yield OutputFile("application.yaml", yaml_bytes(single, _HEADER))
    several = application_set(name, settings, environments)
    yield OutputFile("applicationset.yaml", yaml_bytes(several, _HEADER))


def _notes(settings: Settings) -> Iterator[str]:
    yield "the cluster needs Argo Rollouts 1.9 with the plug-in argoproj-labs/gatewayAPI"
    yield from notes_on_reach(settings)
    if settings.monitoring.kind == "none":
        yield "nothing here scrapes for the analysis: give 'monitoring.kind', or scrape the pods"
    if not settings.argo.repository:
        yield "no Application was written: give 'argo.repository'"
    if not settings.gate.golden:
        yield "no golden prompt is asked: give 'gate.golden'"


def _next(name: str, settings: Settings, first: str) -> Iterator[str]:
    if settings.argo.repository:
        yield "kubectl apply -f applicationset.yaml"
        return
    space = f"-n {name}-{first}"
    values = f"-f values.yaml -f values-{first}.yaml"
    yield f"helm upgrade --install {name} chart {values} {space} --create-namespace"
    yield f"kubectl apply {space} -f {first}/rollout.yaml"


target = Argo()

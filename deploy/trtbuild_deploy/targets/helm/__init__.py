"""Helm: a chart that is shipped as it is, and the values for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trtbuild.errors import RecipeError
from trtbuild_deploy.facts import Facts
from trtbuild_deploy.resources import data_file
from trtbuild_deploy.settings import ENVIRONMENTS, Settings
from trtbuild_deploy.settings.loading import with_environment
from trtbuild_deploy.target import OutputFile, Rendered
from trtbuild_deploy.targets.helm.scaling import reasons_against_scaling
from trtbuild_deploy.targets.helm.values import values_of
from trtbuild_deploy.targets.yamltext import yaml_bytes
from trtbuild_deploy.workload import gpu_count, name_in, place_of

CHART = "trtbuild-server"
"""Name of the chart, which every pod of a release has as a label."""

_HEADER = "Written by trtbuild deploy helm; `trtbuild deploy diff` shows edits."
_BESIDES = "Over values.yaml: what differs in {}."
# What an environment changes unless deploy.yaml says something else; and what it is for, which only
# its own section changes.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "dev": {"server": {"strategy": "recreate"}},
    "prod": {"replicas": 2},
}
_PURPOSES: Mapping[str, Mapping[str, Any]] = {
    "rehearsal": {"gpu": {"mode": "none"}, "autoscaling": {"kind": "none"}},
}


class Helm:
    """A Deployment, or a LeaderWorkerSet where a replica takes several nodes."""

    name = "helm"
    summary = "A Helm chart with values for each environment."

    def reasons_against(self, facts: Facts, settings: Settings) -> Sequence[str]:
        """Return what the chart cannot do."""
        reasons = dict.fromkeys(_reasons(facts, settings), "")
        for environment in settings.environments:
            for reason in _reasons(facts, settings_of(environment, settings)):
                reasons.setdefault(reason, f"environments.{environment}: ")
        return tuple(f"{where}{reason}" for reason, where in reasons.items())

    def render(self, facts: Facts, settings: Settings) -> Rendered:
        """Return the chart, the values, and those of each environment."""
        base = values_of(facts, settings)
        ignored = OutputFile(".trivyignore", data_file("trivyignore").read_bytes())
        files = [*_chart(), ignored, OutputFile("values.yaml", yaml_bytes(base, _HEADER))]
        notes = [*facts.notes, *_notes(facts, settings)]
        for environment in dict.fromkeys((*ENVIRONMENTS, *settings.environments)):
            changed = settings_of(environment, settings)
            if place_of(facts, changed) == "embedded" and not changed.rehearsal_image:
                notes.append(
                    f"no values-{environment}.yaml: without a GPU it needs 'rehearsalImage'"
                )
                continue
            values = _changes(base, _values_in(environment, facts, changed))
            header = f"{_HEADER}\n{_BESIDES.format(environment)}"
            path = f"values-{environment}.yaml"
            files.append(OutputFile(path, yaml_bytes(values, header)))
        release = name_in(facts, settings)
        return Rendered(
            tuple(sorted(files, key=lambda file: file.path)),
            tuple(notes),
            (f"helm upgrade --install {release} chart -f values.yaml -f values-dev.yaml --wait",),
        )


def _chart() -> Iterator[OutputFile]:
    root = data_file("chart")
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield OutputFile(f"chart/{path.relative_to(root).as_posix()}", path.read_bytes())


def settings_of(environment: str, settings: Settings) -> Settings:
    """Return the settings of an environment, with what it changes by default."""
    default, purpose = dict(_DEFAULTS.get(environment, {})), _PURPOSES.get(environment)
    found = with_environment(settings, environment, default, purpose)
    if "replicas" not in default or found.autoscaling.kind == "none":
        return found
    del default["replicas"]
    return with_environment(settings, environment, default, purpose)


def _values_in(environment: str, facts: Facts, settings: Settings) -> dict[str, Any]:
    try:
        return values_of(facts, settings)
    except RecipeError as error:
        error.where = error.where or f"environments.{environment}"
        raise


def _changes(base: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of ``other`` that are not as in ``base``. Helm keeps what an overlay leaves out, so
    a key that is gone becomes null."""
    result: dict[str, Any] = {}
    for key in dict.fromkeys((*other, *base)):
        old, new = base.get(key), other.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            if inner := _changes(old, new):
                result[key] = inner
        elif old != new:
            result[key] = new
    return result


def _reasons(facts: Facts, settings: Settings) -> Iterator[str]:
    yield from _of_nodes(facts, settings)
    yield from _of_copies(facts, settings)
    yield from reasons_against_scaling(facts, settings)


def _of_nodes(facts: Facts, settings: Settings) -> Iterator[str]:
    count, per_node = gpu_count(facts, settings), settings.gpu.per_node
    if count <= per_node:
        return
    if count % per_node:
        yield f"a replica takes {count} GPUs, which do not fill nodes of {per_node} ('gpu.perNode')"
    large = [model for model in facts.models if model.world > per_node]
    if not large:
        yield (
            f"'gpu.count' {count} is more than the {per_node} GPUs of a node ('gpu.perNode'), "
            f"and no model takes more than {facts.gpus}: lower it"
        )
    for model in large:
        takes = f"{model.name} takes {model.world} GPUs, and a node has {per_node} ('gpu.perNode')"
        if model.builder.startswith("trtllm"):
            yield (
                f"{takes}: {model.builder} starts its ranks by MPI, which needs ssh or a scheduler "
                "between nodes, and pods have neither; convert it for one node or with --builder "
                "vllm --set distributed_executor_backend=ray, or start it with `trtbuild launch "
                "--with sbatch`"
            )
        elif model.builder != "vllm":
            yield f"{takes}: {model.builder} has no ranks on other nodes; convert it for one node"
        elif model.executor != "ray":
            yield (
                f"{takes}: convert it with --set distributed_executor_backend=ray for several nodes"
            )


def _of_copies(facts: Facts, settings: Settings) -> Iterator[str]:
    weights = settings.weights
    if weights.source == "s3" and not weights.image:
        yield "'weights.from' s3 needs 'weights.image', an image with the AWS command line"
    if weights.source == "hub" and not weights.image and set(facts.builders) == {"onnx"}:
        yield (
            "'weights.from' hub needs 'weights.image', an image with huggingface_hub: the server's "
            "has none"
        )


def _notes(facts: Facts, settings: Settings) -> Iterator[str]:
    metrics = facts.metrics(gateway=settings.gateway.enabled)
    yield from (f"signal {signal.name}: {signal.missing}" for signal in metrics.missing)
    yield from metrics.unread
    image = settings.image or facts.image
    if "@sha256:" not in image:
        yield f"{image} is a tag, which can move: give 'image' by digest"
    if settings.weights.source in ("s3", "hub"):
        yield ("every new pod downloads the whole repository: a claim or an image volume is shared")
    yield from notes_on_reach(settings)
    if settings.autoscaling.kind == "keda" and settings.monitoring.kind == "none":
        yield "KEDA asks Prometheus, and nothing here scrapes for it: give 'monitoring.kind'"
    if settings.weights.source == "image":
        yield "image volumes need Kubernetes 1.31, and are on by default from 1.35"


def notes_on_reach(settings: Settings) -> Iterator[str]:
    """Yield a sentence if no request comes in by the route, and one if everybody's does."""
    network, route = settings.network, settings.route
    if network.policy and route.parents and not (route.namespace or network.clients):
        yield (
            "the NetworkPolicy admits only the namespace of the release: name the Gateway's with "
            "'route.namespace', and that of its pods, if it differs, under 'network.clients'"
        )
    if route.parents and not settings.gateway.keys:
        yield (
            "whoever reaches the route may ask the models: give 'gateway.keys', or let the Gateway "
            "check who asks"
        )


target = Helm()

"""Whether settings contradict themselves or the facts; all at once."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trtbuild.errors import RecipeError
from trtbuild_deploy.facts import Facts
from trtbuild_deploy.settings import SETTINGS_NAME, Settings
from trtbuild_deploy.settings.values import IMAGE, quantity_bytes
from trtbuild_deploy.workload.choices import downloads, gpu_count, name_in


def require_sound(facts: Facts, settings: Settings, file: str = SETTINGS_NAME) -> None:
    """Raise RecipeError with everything in the settings that contradicts itself or the facts.

    ``file`` is what the settings were read from.
    """
    found = [*_of_settings(facts, settings), *_of_gpus(facts, settings), *_of_worker(settings)]
    if found:
        raise RecipeError(
            found[0] if len(found) == 1 else f"the deployment has {len(found)} problems",
            where=file,
            fix=f"correct {file} ('trtbuild deploy schema' prints every key and its type)",
            details=tuple(found) if len(found) > 1 else (),
        )


def _of_settings(facts: Facts, settings: Settings) -> Iterator[str]:
    scaling = settings.autoscaling
    if not name_in(facts, settings):
        yield f"no name can be made from the directory {facts.repository!r}: give 'name'"
    if scaling.kind != "none" and settings.replicas is not None:
        yield "'replicas' and 'autoscaling.kind' both set the number of replicas: keep one"
    if scaling.kind != "none" and scaling.min > scaling.max:
        yield f"'autoscaling.min' {scaling.min} is more than 'autoscaling.max' {scaling.max}"
    if scaling.kind != "none" and scaling.min == 0:
        yield (
            "'autoscaling.min' 0 never ends: the signals come from the pods, so without one no "
            "request is seen that would start one; give 1"
        )
    if settings.gateway.enabled and not settings.gateway.image:
        yield "'gateway.enabled' needs 'gateway.image', an image with trtbuild-gateway"
    if settings.network.policy and settings.network.egress == "none" and downloads(facts, settings):
        yield f"'network.egress' none stops the download {downloads(facts, settings)}"
    if facts.weight_bytes is None and not settings.weights.size:
        yield "the weights come from the hub, so their size is unknown: give 'weights.size'"
    yield from _of_weights(settings)
    given = settings.server.memory
    if given and quantity_bytes(given) <= facts.shm_bytes:
        yield (
            f"'server.memory' {given} leaves nothing beside /dev/shm, which counts and may take "
            f"{facts.shm_bytes >> 20} MiB"
        )


def _of_worker(settings: Settings) -> Iterator[str]:
    worker = settings.worker
    if not worker.queue:
        given = worker.model_dump(exclude_defaults=True)
        if given:
            yield f"'worker.{next(iter(given))}' starts no worker: give 'worker.queue', the broker"
        return
    needed = {
        "image": "an image with trtbuild and the broker's extra",
        "secret": "the Secret with REQUESTS, ANSWERS and DEAD",
        "name": "the stream, topic or queue that KEDA measures",
        **(
            {"variable": "the Secret's variable with the broker's amqp:// address"}
            if worker.queue == "rabbitmq"
            else {"address": "where KEDA asks the broker"}
        ),
    }
    for key, what in needed.items():
        if not getattr(worker, key):
            yield f"'worker.queue' {worker.queue} needs 'worker.{key}', {what}"
    if worker.min > worker.max:
        yield f"'worker.min' {worker.min} is more than 'worker.max' {worker.max}"
    if not worker.target and settings.gateway.keys and "--api-key-env" not in worker.args:
        yield (
            "with 'gateway.keys' the workers need a key, too: put it into the Secret, and its "
            "variable into 'worker.args' as [--api-key-env, VARIABLE]"
        )
    if not worker.target and not settings.gateway.enabled:
        yield "'worker.target' is needed where no gateway is deployed: the API that answers"


_REFERENCES = {
    "image": (IMAGE, "an image"),
    "s3": (r"s3://[\w.-]+(/.*)?", "s3://bucket/prefix"),
    "hub": (r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", "owner/name@commit, the commit in full"),
}


def _of_weights(settings: Settings) -> Iterator[str]:
    weights = settings.weights
    pattern, form = _REFERENCES.get(weights.source, ("", ""))
    if pattern and not re.fullmatch(pattern, weights.reference):
        yield (
            f"'weights.reference' {weights.reference!r} does not fit 'weights.from' "
            f"{weights.source}: give {form}"
        )


def _of_gpus(facts: Facts, settings: Settings) -> Iterator[str]:
    gpu, count = settings.gpu, gpu_count(facts, settings)
    if gpu.mode == "mig" and not (gpu.profile or gpu.resource):
        yield "'gpu.mode' mig needs 'gpu.profile', such as 1g.10gb"
    if gpu.mode in ("mig", "shared") and count > 1:
        yield (
            f"'gpu.mode' {gpu.mode} gives a part of one GPU, and a replica takes {count}: parts "
            "cannot be joined"
        )
    if gpu.mode != "none" and 0 < count < facts.gpus:
        yield f"'gpu.count' {count} is less than the {facts.gpus} ranks of the model"
    widest = max(facts.models, key=lambda model: model.tensor)
    if gpu.mode != "none" and widest.tensor > gpu.per_node:
        more = ", and pipeline_parallel_size for several nodes" * (widest.builder == "vllm")
        yield (
            f"tensor_parallel_size {widest.tensor} is more than the {gpu.per_node} GPUs of a node "
            f"('gpu.perNode'): convert with a smaller one{more}"
        )

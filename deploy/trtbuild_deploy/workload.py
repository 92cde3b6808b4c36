"""The containers of a deployment, which every target spells in its own language."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trtbuild.container import ContainerSpec, GpuResource, HealthCheck, Port
from trtbuild.errors import RecipeError
from trtbuild.signature import MOUNT
from trtbuild_deploy.facts import Facts, Metrics, ModelFacts
from trtbuild_deploy.facts.metrics import Place
from trtbuild_deploy.settings import Settings
from trtbuild_deploy.settings.values import IMAGE, name_of, quantity_bytes

HTTP, GRPC, METRICS, GATEWAY = 8000, 8001, 8002, 9000
CACHE = "/home/cache"
PROBE = "/etc/trtbuild/probe.py"
SLACK_SECONDS = 30
"""From the end of the server's own timeout to SIGKILL."""

_PERIOD = 10
# With a counter of work a silent engine is known after one short request; without one, only a
# long silence tells it from a busy one.
_SECONDS, _FAILURES = 5, 3
_SECONDS_BLIND, _FAILURES_BLIND = 30, 5
_RESOURCES = {"plugin": "nvidia.com/gpu", "shared": "nvidia.com/gpu.shared"}


@dataclass(frozen=True, slots=True)
class Workload:
    """One replica.

    Attributes:
        name: Of everything.
        server: Triton's container; its health check is the liveness check.
        gateway: The container beside it, None without one.
        startup, ready: Its other checks.
        probe: The configuration of the probe.
        load_seconds: The estimate, or what was measured.
        grace_seconds: From the wish to stop to SIGKILL.
        nodes: Machines of one replica.
        place: Whose server runs.
        metrics: Which metrics there are.
    """

    name: str
    server: ContainerSpec
    gateway: ContainerSpec | None
    startup: HealthCheck
    ready: HealthCheck
    probe: Mapping[str, Any]
    load_seconds: int
    grace_seconds: int
    nodes: int
    place: Place
    metrics: Metrics


def workload(facts: Facts, settings: Settings) -> Workload:
    """Describe one replica. Raises RecipeError as :func:`require_sound`."""
    require_sound(facts, settings)
    weights = _weight_bytes(facts, settings)
    bandwidth = quantity_bytes(settings.weights.bandwidth)
    load = settings.server.load_seconds or facts.load_seconds(
        weight_bytes=weights, bandwidth=bandwidth
    )
    place = place_of(facts, settings)
    probe = _probe(facts, place)
    failures = _FAILURES if _sees_work(probe) else _FAILURES_BLIND
    seconds = probe["timeout"] + 5  # for the interpreter's start
    startup = HealthCheck(_command("startup"), _PERIOD, seconds, -(-2 * load // _PERIOD))
    return Workload(
        name=name_in(facts, settings),
        server=_server(facts, settings, HealthCheck(_command("live"), _PERIOD, seconds, failures)),
        gateway=_gateway(settings) if settings.gateway.enabled else None,
        startup=startup,
        ready=HealthCheck(_command("ready"), _PERIOD, seconds, 2),
        probe=probe,
        load_seconds=load,
        grace_seconds=settings.server.pre_stop + settings.server.exit_timeout + SLACK_SECONDS,
        nodes=-(-gpu_count(facts, settings) // settings.gpu.per_node) or 1,
        place=place,
        metrics=facts.metrics(gateway=settings.gateway.enabled, place=place),
    )


def name_in(facts: Facts, settings: Settings) -> str:
    """The deployment's name."""
    return settings.name or name_of(facts.repository)


def place_of(facts: Facts, settings: Settings) -> Place:
    """Whose server runs: a repository that needs GPUs and gets none runs on the embedded one."""
    return "embedded" if settings.gpu.mode == "none" and facts.gpus else "image"


def gpu_count(facts: Facts, settings: Settings) -> int:
    """GPUs of one replica."""
    if settings.gpu.mode == "none":
        return 0
    return facts.gpus if settings.gpu.count is None else settings.gpu.count


def gpu_resource(facts: Facts, settings: Settings) -> GpuResource | None:
    """The GPUs of one node as a resource; None without any, and for DRA's claims."""
    gpu, count = settings.gpu, min(gpu_count(facts, settings), settings.gpu.per_node)
    if not count or gpu.mode == "dra":
        return None
    name = gpu.resource or _RESOURCES.get(gpu.mode, f"nvidia.com/mig-{gpu.profile}")
    return GpuResource(count, name)


def egress_of(facts: Facts, settings: Settings) -> str:
    """What a replica may reach outside: ``none``, ``https`` or ``any``."""
    return settings.network.egress or ("https" if _downloads(facts, settings) else "none")


def require_sound(facts: Facts, settings: Settings) -> None:
    """Raise RecipeError with everything in the settings that contradicts itself or the facts."""
    found = [*_of_settings(facts, settings), *_of_gpus(facts, settings)]
    if found:
        raise RecipeError(
            found[0] if len(found) == 1 else f"the deployment has {len(found)} contradictions",
            fix="correct deploy.yaml ('trtbuild deploy schema' prints every key and its type)",
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
    if scaling.kind == "hpa" and scaling.min == 0:
        yield "'autoscaling.min' 0 needs kind keda: an HPA sees no metric of a server at zero"
    if settings.gateway.enabled and not settings.gateway.image:
        yield "'gateway.enabled' needs 'gateway.image', an image with trtbuild-gateway"
    if (
        settings.network.policy
        and settings.network.egress == "none"
        and _downloads(facts, settings)
    ):
        yield f"'network.egress' none stops the download {_downloads(facts, settings)}"
    if facts.weight_bytes is None and not settings.weights.size:
        yield "the weights come from the hub, so their size is unknown: give 'weights.size'"
    yield from _of_weights(facts, settings)
    given = settings.server.memory
    if given and quantity_bytes(given) <= facts.shm_bytes:
        yield (
            f"'server.memory' {given} leaves nothing beside /dev/shm, which counts and may take "
            f"{facts.shm_bytes >> 20} MiB"
        )


_REFERENCES = {
    "image": (IMAGE, "an image"),
    "s3": (r"s3://[\w.-]+(/.*)?", "s3://bucket/prefix"),
    "hub": (r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", "owner/name@commit, the commit in full"),
}


def _of_weights(facts: Facts, settings: Settings) -> Iterator[str]:
    weights = settings.weights
    pattern, form = _REFERENCES.get(weights.source, ("", ""))
    if pattern and not re.fullmatch(pattern, weights.reference):
        yield (
            f"'weights.reference' {weights.reference!r} does not fit 'weights.from' "
            f"{weights.source}: give {form}"
        )
    if weights.source == "s3" and not weights.image:
        yield "'weights.from' s3 needs 'weights.image', an image with the AWS command line"
    if weights.source == "hub" and not weights.image and set(facts.builders) == {"onnx"}:
        yield (
            "'weights.from' hub needs 'weights.image', an image with huggingface_hub: the server's "
            "has none"
        )


def _downloads(facts: Facts, settings: Settings) -> str:
    """What is downloaded at the start of a replica, empty if nothing."""
    if settings.weights.source in ("s3", "hub"):
        return f"of 'weights.from' {settings.weights.source}"
    return "of weights that the engine makes when it starts" if facts.from_hub else ""


def _of_gpus(facts: Facts, settings: Settings) -> Iterator[str]:
    gpu, count = settings.gpu, gpu_count(facts, settings)
    if gpu.mode == "mig" and not (gpu.profile or gpu.resource):
        yield "'gpu.mode' mig needs 'gpu.profile', such as 1g.10gb"
    if gpu.mode in ("mig", "shared") and count > 1:
        yield (
            f"'gpu.mode' {gpu.mode} gives a part of one GPU, and the model has {facts.gpus} ranks: "
            "parts cannot be joined"
        )
    if gpu.mode != "none" and 0 < count < facts.gpus:
        yield f"'gpu.count' {count} is less than the {facts.gpus} ranks of the model"
    tensor = max((model.tensor for model in facts.models), default=1)
    if gpu.mode != "none" and tensor > gpu.per_node:
        yield (
            f"tensor_parallel_size {tensor} is more than the {gpu.per_node} GPUs of a node "
            "('gpu.perNode'): convert with fewer, and pipeline_parallel_size for several nodes"
        )


def _weight_bytes(facts: Facts, settings: Settings) -> int:
    given = settings.weights.size
    return quantity_bytes(given) if given else facts.weight_bytes or 0


def _probe(facts: Facts, place: Place) -> dict[str, Any]:
    """The configuration of ``probe.py``."""
    requests = [_request(facts, model, place) for model in facts.models]
    blind = any(request["body"] and not request["progress"] for request in requests)
    return {
        "url": f"http://127.0.0.1:{HTTP}",
        "metrics": f"http://127.0.0.1:{METRICS}/metrics",
        "timeout": _SECONDS_BLIND if blind else _SECONDS,
        "requests": requests,
    }


def _request(facts: Facts, model: ModelFacts, place: Place) -> dict[str, Any]:
    progress = facts.progress(model, place=place)
    return {
        "model": model.name,
        "path": model.probe.path,
        "body": model.probe.body,
        "progress": progress if model.probe.body else "",
    }


def _sees_work(probe: Mapping[str, Any]) -> bool:
    return bool(probe["timeout"] == _SECONDS)


def _command(mode: str) -> tuple[str, ...]:
    return ("python3", PROBE, mode)


def _server(facts: Facts, settings: Settings, live: HealthCheck) -> ContainerSpec:
    own = settings.server
    embedded = place_of(facts, settings) == "embedded"
    given = own.memory
    memory = quantity_bytes(given) if given else facts.memory_bytes(_weight_bytes(facts, settings))
    caches = {"HOME": CACHE, "HF_HOME": f"{CACHE}/huggingface"}
    return ContainerSpec(
        image=settings.rehearsal_image if embedded else settings.image or facts.image,
        command=_embedded_command(facts) if embedded else (*facts.command, *_traced(settings)),
        name=name_in(facts, settings),
        env={**caches, **facts.environment, **_quiet(embedded=embedded), **own.env},
        inherited=tuple(sorted(own.secrets)),
        ports=(Port(HTTP, HTTP), Port(GRPC, GRPC), Port(METRICS, METRICS)),
        shm_size=str(facts.shm_bytes),
        user=f"{own.user}:{own.user}",
        memory_bytes=memory,
        health=live,
        stop_seconds=own.exit_timeout + SLACK_SECONDS,
        read_only=own.read_only_root_filesystem,
        scratch=("/tmp", CACHE),  # noqa: S108 - inside the container
        gpu=gpu_resource(facts, settings),
    )


def _quiet(*, embedded: bool) -> Mapping[str, str]:
    """Nothing reports to anybody; the embedded server's state lies where it can be written."""
    off = {"DO_NOT_TRACK": "1", "VLLM_NO_USAGE_STATS": "1"}
    return {**off, "TRTBUILD_STATE_DIR": f"{CACHE}/state"} if embedded else off


def _embedded_command(facts: Facts) -> tuple[str, ...]:
    rehearse = ("--rehearse",) if any(b.startswith("trtllm") for b in facts.builders) else ()
    return ("trtbuild", "serve", MOUNT, "--mode", "embedded", "--host", "0.0.0.0", *rehearse)  # noqa: S104


def _traced(settings: Settings) -> tuple[str, ...]:
    return trace_arguments(settings.tracing.url, settings.tracing.rate)


def trace_arguments(url: str, rate: int) -> tuple[str, ...]:
    """The arguments of ``tritonserver`` that send spans to ``url``; none without one."""
    if not url:
        return ()
    return (
        "--trace-config=mode=opentelemetry",
        f"--trace-config=opentelemetry,url={url}",
        f"--trace-config=rate={rate}",
        "--trace-config=level=TIMESTAMPS",
    )


def _gateway(settings: Settings) -> ContainerSpec:
    seconds = settings.server.exit_timeout
    return ContainerSpec(
        image=settings.gateway.image,
        command=(
            *("trtbuild", "gateway", MOUNT, "--url", f"127.0.0.1:{HTTP}"),
            *("--host", "0.0.0.0", "--port", str(GATEWAY)),  # noqa: S104 - inside the container
        ),
        env={"HOME": "/tmp"},  # noqa: S108 - inside the container
        ports=(Port(GATEWAY, GATEWAY),),
        user=f"{settings.server.user}:{settings.server.user}",
        memory_bytes=quantity_bytes(settings.gateway.memory),
        stop_seconds=seconds + SLACK_SECONDS,
        read_only=True,
        scratch=("/tmp",),  # noqa: S108 - inside the container
    )

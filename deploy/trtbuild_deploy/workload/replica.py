"""The containers of a deployment, which every target spells in its own language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trtbuild.container import ContainerSpec, HealthCheck, Port
from trtbuild.signature import MOUNT
from trtbuild_deploy.facts import Facts, Metrics, ModelFacts
from trtbuild_deploy.facts.metrics import Place
from trtbuild_deploy.settings import Settings
from trtbuild_deploy.settings.values import quantity_bytes
from trtbuild_deploy.workload.choices import (
    gpu_count,
    gpu_resource,
    name_in,
    place_of,
)
from trtbuild_deploy.workload.gateway import gateway_container
from trtbuild_deploy.workload.soundness import require_sound

HTTP, GRPC, METRICS = 8000, 8001, 8002
CACHE = "/home/cache"
PROBE = "/etc/trtbuild/probe.py"
SLACK_SECONDS = 30
"""From the end of the server's own timeout to SIGKILL."""

_EXIT = "--exit-timeout-secs="
_PERIOD = 10
# With a counter of work a silent engine is known after one short request, two seconds in all;
# without one, only a long silence tells it from a busy one.
_SECONDS, _FAILURES = 1.5, 3
_SECONDS_BLIND, _FAILURES_BLIND = 30, 5


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
        fetch_seconds: For the copy of the repository before, where one is made; twice the estimate.
        grace_seconds: From the wish to stop to SIGKILL.
        nodes: Machines of one replica.
        disk_bytes: Of what a replica downloads to its node; 0 where nothing is, or to a claim.
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
    fetch_seconds: int
    grace_seconds: int
    nodes: int
    disk_bytes: int
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
    seconds = max(_PERIOD, probe["timeout"] + 5)  # for the interpreter's start, on a busy node
    beside = f"127.0.0.1:{HTTP}"
    gateway = (
        gateway_container(settings, beside, SLACK_SECONDS) if settings.gateway.enabled else None
    )
    startup = HealthCheck(_command("startup"), _PERIOD, seconds, -(-2 * load // _PERIOD))
    return Workload(
        name=name_in(facts, settings),
        server=_server(facts, settings, HealthCheck(_command("live"), _PERIOD, seconds, failures)),
        gateway=gateway,
        startup=startup,
        ready=HealthCheck(_command("ready"), _PERIOD, seconds, 2),
        probe=probe,
        load_seconds=load,
        fetch_seconds=-(-2 * weights // bandwidth) if _is_copied(settings) else 0,
        grace_seconds=settings.server.pre_stop + settings.server.exit_timeout + SLACK_SECONDS,
        nodes=-(-gpu_count(facts, settings) // settings.gpu.per_node) or 1,
        disk_bytes=_disk_bytes(facts, settings, weights),
        place=place,
        metrics=facts.metrics(gateway=settings.gateway.enabled, place=place),
    )


def _weight_bytes(facts: Facts, settings: Settings) -> int:
    given = settings.weights.size
    return quantity_bytes(given) if given else facts.weight_bytes or 0


def _disk_bytes(facts: Facts, settings: Settings, weights: int) -> int:
    """The weights and a tenth more, for what lies beside them."""
    on_node = _is_copied(settings) or (facts.from_hub and not settings.weights.cache_claim)
    return weights * 11 // 10 if on_node else 0


def _is_copied(settings: Settings) -> bool:
    return settings.weights.source in ("s3", "hub")


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
        command=_embedded_command(facts) if embedded else _command_of(facts, settings),
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


def _command_of(facts: Facts, settings: Settings) -> tuple[str, ...]:
    """The server's command with the exit timeout of these settings, which an environment may
    change, and its tracing."""
    given = f"{_EXIT}{settings.server.exit_timeout}"
    words = (given if word.startswith(_EXIT) else word for word in facts.command)
    return (*words, *trace_arguments(settings.tracing.url, settings.tracing.rate))


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

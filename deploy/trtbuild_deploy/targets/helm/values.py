"""The chart's values: sections of ``deploy.yaml``, and what the facts add."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from trtbuild.container import HealthCheck
from trtbuild_deploy.facts import Facts
from trtbuild_deploy.settings import Settings, Worker
from trtbuild_deploy.settings.base import Image, Name, Quantity, Strict
from trtbuild_deploy.settings.model import (
    Autoscaling,
    Gateway,
    Gpu,
    Monitoring,
    Network,
    Route,
    Server,
    Weights,
)
from trtbuild_deploy.targets.helm.scaling import scaling_metric, scaling_query
from trtbuild_deploy.targets.helm.workers import WorkerValues, port_of, worker_values
from trtbuild_deploy.workload import (
    Workload,
    egress_of,
    gateway_settings,
    gpu_count,
    workload,
)

_RAY_PORT = 6379


class Check(Strict):
    """When a probe runs and counts."""

    period: int = Field(ge=1)
    timeout: int = Field(ge=1)
    failures: int = Field(ge=1)


class Resource(Strict):
    """GPUs of one node."""

    name: str
    count: int = Field(ge=1)


class Request(Strict):
    """What the probe asks one model."""

    model: str
    path: str
    body: dict[str, Any]
    progress: str


class Probe(Strict):
    """``probe.json``."""

    url: str
    metrics: str
    timeout: float
    requests: tuple[Request, ...]


class Scaling(Strict):
    """What the autoscaler asks; __NAMESPACE__ and __RELEASE__ are the release's own."""

    query: str = ""
    metric: str = ""


class WorkloadValues(Strict):
    """Made from the repository: change the recipe or deploy.yaml instead."""

    digest: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of trtbuild.lock")
    release: str = Field(description="Triton release")
    builders: tuple[str, ...] = Field(description="Of the models")
    load_seconds: int = Field(ge=0, description="Estimated or measured")
    image: Image
    args: tuple[str, ...]
    worker_args: tuple[str, ...] = ()
    gateway_args: tuple[str, ...] = ()
    gateway_env: dict[str, str] = Field(default_factory=dict)
    gateway_settings: dict[str, Any] = Field(
        default_factory=dict, description="gateway.yaml, which the gateway checks"
    )
    env: dict[str, str]
    memory: Quantity
    shm: Quantity
    disk: Quantity = Field(default="", description="What a pod downloads to its node")
    gpu: Resource | None = None
    gpus_per_node: int = Field(ge=0)
    nodes: int = Field(ge=1)
    startup: Check
    live: Check
    ready: Check
    progress_deadline: int = Field(ge=1)
    probe: Probe
    scaling: Scaling = Scaling()
    worker: WorkerValues | None = None
    egress_ports: tuple[int, ...] = Field(
        default=(), description="Ports that the server reaches besides 443"
    )


class Values(Strict):
    """``values.yaml``, whole."""

    model_config = ConfigDict(title="Values of the chart trtbuild-server")

    name: Name
    replicas: int | None = Field(default=None, ge=0)
    server: Server = Server()
    gpu: Gpu = Gpu()
    weights: Weights = Weights()
    gateway: Gateway = Gateway()
    network: Network = Network()
    route: Route = Route()
    autoscaling: Autoscaling = Autoscaling()
    monitoring: Monitoring = Monitoring()
    worker: Worker = Worker()
    workload: WorkloadValues


def values_of(facts: Facts, settings: Settings) -> dict[str, Any]:
    """Return the values for the settings of one environment."""
    load = workload(facts, settings)
    network = settings.network.model_copy(update={"egress": egress_of(facts, settings)})
    values = Values(
        name=load.name,
        replicas=_replicas(settings),
        server=settings.server,
        gpu=settings.gpu,
        weights=settings.weights,
        gateway=settings.gateway,
        network=network,
        route=settings.route,
        autoscaling=settings.autoscaling,
        monitoring=settings.monitoring,
        worker=settings.worker,
        workload=_workload(facts, settings, load),
    )
    found: dict[str, Any] = values.model_dump(by_alias=True, mode="json")
    return found


def _replicas(settings: Settings) -> int | None:
    """None where an autoscaler sets the number: both would undo each other's work."""
    if settings.autoscaling.kind != "none":
        return None
    return 1 if settings.replicas is None else settings.replicas


def _workload(facts: Facts, settings: Settings, load: Workload) -> WorkloadValues:
    server, scales = load.server, settings.autoscaling.kind != "none"
    gpu = server.gpu
    live = server.health
    assert live is not None
    return WorkloadValues(
        digest=facts.digest,
        release=facts.release,
        builders=facts.builders,
        load_seconds=load.load_seconds,
        image=server.image,
        args=_leader(server.command) if load.nodes > 1 else server.command,
        worker_args=_worker() if load.nodes > 1 else (),
        gateway_args=load.gateway.command if load.gateway else (),
        gateway_env=dict(load.gateway.env) if load.gateway else {},
        gateway_settings=gateway_settings(settings) if load.gateway else {},
        env={name: value for name, value in server.env.items() if name not in settings.server.env},
        memory=_mebibytes(server.memory_bytes),
        shm=_mebibytes(facts.shm_bytes),
        disk=_mebibytes(load.disk_bytes) if load.disk_bytes else "",
        gpu=Resource(name=gpu.name, count=gpu.count) if gpu else None,
        gpus_per_node=gpu_count(facts, settings) // load.nodes,
        nodes=load.nodes,
        startup=_check(load.startup),
        live=_check(live),
        ready=_check(load.ready),
        # Later than the startup probe gives up, so that the probe's reason is the one that is seen;
        # it begins after the download.
        progress_deadline=load.fetch_seconds + load.startup.period * load.startup.failures + 300,
        probe=Probe.model_validate(load.probe),
        scaling=Scaling(
            query=scaling_query(facts, settings),
            metric=scaling_metric(facts, settings) if scales else "",
        ),
        worker=worker_values(settings),
        egress_ports=tuple(_egress_ports(settings)),
    )


def _check(check: HealthCheck) -> Check:
    return Check(period=check.period, timeout=check.timeout, failures=check.failures)


def _mebibytes(count: int) -> str:
    return f"{-(-count // (1 << 20))}Mi"


def _egress_ports(settings: Settings) -> list[int]:
    """The collector's port, and that of a store of weights other than Amazon's."""
    weights = settings.weights
    urls = [settings.tracing.url, weights.endpoint if weights.source == "s3" else ""]
    return sorted({port_of(url) for url in urls if url})


def _leader(command: tuple[str, ...]) -> tuple[str, ...]:
    start = f'ray start --head --port={_RAY_PORT} && exec "$@"'
    return ("bash", "-c", start, "--", *command)


def _worker() -> tuple[str, ...]:
    """A node of the leader's Ray cluster; LeaderWorkerSet sets the address."""
    return ("bash", "-c", f'exec ray start --block --address="$LWS_LEADER_ADDRESS:{_RAY_PORT}"')

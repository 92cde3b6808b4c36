"""Workers on a queue beside the server: what they are told, and what KEDA asks their broker."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import Field

from trtbuild_deploy.settings import Settings, Worker
from trtbuild_deploy.settings.base import Strict

_METRICS_PORT = 9400
_PORTS = {"redis": 6379, "kafka": 9092, "nats": 4222, "rabbitmq": 5672}
_OWN_GATEWAY = "http://__RELEASE__:9000/v1"


class Trigger(Strict):
    """A trigger of KEDA; its values are all strings."""

    type: str
    metadata: dict[str, str]


class WorkerValues(Strict):
    """What follows from ``worker``; __RELEASE__ is the release's own name."""

    args: tuple[str, ...]
    trigger: Trigger
    metrics_port: int = _METRICS_PORT
    ports: tuple[int, ...] = Field(description="Ports that a worker connects to")


def worker_values(settings: Settings) -> WorkerValues | None:
    """Return the values for the workers of a queue; None without one."""
    worker = settings.worker
    if not worker.queue:
        return None
    target = worker.target or _OWN_GATEWAY
    args = ["trtbuild", "worker", "--from", "env:REQUESTS", "--to", "env:ANSWERS"]
    args += ["--dead", "env:DEAD", "--target", target, "--grace", str(worker.grace)]
    args += ["--listen", f"0.0.0.0:{_METRICS_PORT}", *worker.args]
    return WorkerValues(
        args=tuple(args),
        trigger=Trigger(type=_TYPES[worker.queue], metadata=dict(_metadata(worker))),
        ports=tuple(sorted({*_ports(worker), port_of(target)})),
    )


_TYPES = {
    "redis": "redis-streams",
    "kafka": "kafka",
    "nats": "nats-jetstream",
    "rabbitmq": "rabbitmq",
}


def _metadata(worker: Worker) -> Mapping[str, str]:
    """https://keda.sh/docs/2.20/scalers/"""
    waiting = str(worker.waiting)
    if worker.queue == "redis":
        password = {"passwordFromEnv": worker.variable} if worker.variable else {}
        return {
            "address": worker.address,
            "stream": worker.name,
            "consumerGroup": worker.group,
            "lagCount": waiting,
            **password,
        }
    if worker.queue == "kafka":
        return {
            "bootstrapServers": worker.address,
            "topic": worker.name,
            "consumerGroup": worker.group,
            "lagThreshold": waiting,
            # Workers of a new group begin with the messages that are there.
            "offsetResetPolicy": "earliest",
        }
    if worker.queue == "nats":
        return {
            "natsServerMonitoringEndpoint": worker.address,
            "account": worker.account,
            "stream": worker.name,
            "consumer": worker.group,
            "lagThreshold": waiting,
        }
    return {
        "hostFromEnv": worker.variable,
        "queueName": worker.name,
        "mode": "QueueLength",
        "value": waiting,
    }


def _ports(worker: Worker) -> set[int]:
    """Return where a worker reaches its broker; KEDA asks Redis and Kafka at the same ports."""
    if worker.port:
        return {worker.port}
    asked = worker.address if worker.queue in ("redis", "kafka") else ""
    found = {int(port) for port in re.findall(r":([0-9]{1,5})(?:,|$)", asked)}
    return found or {_PORTS[worker.queue]}


def port_of(url: str) -> int:
    """Return the port of an address, given or the scheme's own."""
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)

"""The container of a ServingRuntime."""

from __future__ import annotations

from typing import Any

from trtbuild.container import ContainerSpec, HealthCheck
from trtbuild_deploy.settings import Settings
from trtbuild_deploy.workload import CACHE, Workload

CONTAINER = "kserve-container"
"""The name that KServe takes for the container that serves."""

_PORTS = {8000: "http", 8001: "grpc", 8002: "metrics"}


def serving_container(settings: Settings, load: Workload) -> dict[str, Any]:
    """Return Triton's container."""
    server, own = load.server, settings.server
    live = server.health or HealthCheck(())
    return {
        "name": CONTAINER,
        "image": server.image,
        "imagePullPolicy": "IfNotPresent",
        "args": [_literal(word) for word in server.command],
        "env": [
            *(
                {"name": name, "value": _literal(value)}
                for name, value in sorted(server.env.items())
            ),
            *(
                {"name": name, "valueFrom": {"secretKeyRef": ref.model_dump()}}
                for name, ref in sorted(own.secrets.items())
            ),
        ],
        # The Service leads to the first.
        "ports": [
            {"name": _PORTS[port.container], "containerPort": port.container, "protocol": "TCP"}
            for port in server.ports
        ],
        "startupProbe": _check(load.startup),
        "livenessProbe": _check(live),
        "readinessProbe": _check(load.ready),
        # Kubernetes refuses to sleep for 0 seconds before 1.33.
        **(
            {"lifecycle": {"preStop": {"sleep": {"seconds": own.pre_stop}}}} if own.pre_stop else {}
        ),
        "resources": _resources(server, own.cpu),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": own.read_only_root_filesystem,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - inside the container
            {"name": "cache", "mountPath": CACHE},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - inside the container
            {"name": "probe", "mountPath": "/etc/trtbuild", "readOnly": True},
        ],
    }


def _literal(text: str) -> str:
    """``text`` for KServe, which renders a runtime's container as a template of Go. Backquotes,
    because it is rendered as JSON, where quotes are escaped."""
    return text.replace("{{", "{{`{{`}}")


def _check(check: HealthCheck) -> dict[str, Any]:
    return {
        "exec": {"command": list(check.command)},
        "periodSeconds": check.period,
        "timeoutSeconds": check.timeout,
        "failureThreshold": check.failures,
    }


def _resources(server: ContainerSpec, cpu: str) -> dict[str, Any]:
    limits = {"memory": mebibytes(server.memory_bytes)}
    if server.gpu is not None:
        limits[server.gpu.name] = str(server.gpu.count)
    return {"requests": {"cpu": cpu, **limits}, "limits": limits}


def mebibytes(count: int) -> str:
    """Bytes as a quantity, rounded up."""
    return f"{-(-count // (1 << 20))}Mi"

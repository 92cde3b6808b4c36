"""Docker Compose: the server, and by profile the gateway, Prometheus and an OTLP collector."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from trtbuild import __version__
from trtbuild.container import ContainerSpec, HealthCheck
from trtbuild.signature import MOUNT
from trtbuild_deploy.facts import Facts
from trtbuild_deploy.resources import data_file
from trtbuild_deploy.settings import Settings
from trtbuild_deploy.target import OutputFile, Rendered
from trtbuild_deploy.targets.observe import rules_document
from trtbuild_deploy.targets.observing import (
    RULES,
    collector,
    collector_service,
    prometheus,
    prometheus_service,
)
from trtbuild_deploy.targets.yamltext import bind, literal, yaml_bytes
from trtbuild_deploy.workload import (
    CACHE,
    GATEWAY,
    GATEWAY_FILE,
    GATEWAY_KEYS,
    HTTP,
    Workload,
    gateway_settings,
    gpu_count,
    trace_arguments,
    workload,
)

_REPOSITORY = "${MODEL_REPOSITORY:?the directory of the model repository}"
_KEYS = "${GATEWAY_KEYS:?the file of trtbuild keys}"
_COLLECTOR = "http://collector:4318/v1/traces"
_HEADER = "Written by trtbuild deploy compose; `trtbuild deploy diff` shows edits."
_PYTHON = "FROM python:3.12-slim\nRUN pip install --no-cache-dir "


class Compose:
    """One host, with or without a GPU."""

    name = "compose"
    summary = "Docker Compose files for one host, with a GPU and without."

    def reasons_against(self, facts: Facts, settings: Settings) -> Sequence[str]:
        """Return what one host cannot do."""
        count = gpu_count(facts, settings)
        if settings.gpu.mode in ("plugin", "none") and count > settings.gpu.per_node:
            return (
                f"a replica takes {count} GPUs, and one host has {settings.gpu.per_node} "
                "('gpu.perNode'): use the target helm",
            )
        if settings.gpu.mode not in ("plugin", "none"):
            return (f"'gpu.mode' {settings.gpu.mode} is for Kubernetes: docker gives whole GPUs",)
        return ()

    def render(self, facts: Facts, settings: Settings) -> Rendered:
        """Return the Compose files with what they mount."""
        settings = _with_gateway(settings)
        main = workload(facts, settings)
        documents = {"compose.yaml": _document(facts, settings, main)}
        if gpu_count(facts, settings):
            none = settings.gpu.model_copy(update={"mode": "none"})
            cpu = settings.model_copy(update={"gpu": none})
            documents["compose.cpu.yaml"] = _document(facts, cpu, workload(facts, cpu))
        documents |= {
            "compose.dev.yaml": _dev(main),
            "compose.test.yaml": _test(),
            "prometheus.yaml": prometheus(settings),
            RULES: rules_document(facts, settings),
            "collector.yaml": collector(),
            "gateway.yaml": gateway_settings(settings),
        }
        files = [OutputFile(path, yaml_bytes(value, _HEADER)) for path, value in documents.items()]
        files += [
            OutputFile("probe.py", data_file("chart", "files", "probe.py").read_bytes()),
            OutputFile("probe.json", json.dumps(main.probe, indent=2).encode() + b"\n"),
            OutputFile(".env.example", _environment(facts, settings)),
        ]
        return Rendered(
            tuple(sorted(files, key=lambda file: file.path)),
            notes=(*facts.notes, *_notes(facts, settings, main)),
            next=(
                "cp .env.example .env  # and fill it in",
                "docker compose --profile gateway --profile observe up --wait",
            ),
        )


def _with_gateway(settings: Settings) -> Settings:
    """The gateway is a profile here, so it is always written; without an image it is built."""
    image = settings.gateway.image or f"trtbuild-gateway:{__version__}"
    gateway = settings.gateway.model_copy(update={"enabled": True, "image": image})
    return settings.model_copy(update={"gateway": gateway})


def _document(facts: Facts, settings: Settings, load: Workload) -> dict[str, Any]:
    server = _service(load.server, settings)
    server["volumes"] = [bind(_REPOSITORY, MOUNT), *_probe_files(), *_hub_cache(facts)]
    server["healthcheck"] = _healthcheck(load)
    server["labels"] = {
        "trtbuild.dev/builders": " ".join(facts.builders),
        "trtbuild.dev/repository": facts.digest,
        "trtbuild.dev/load-seconds": str(load.load_seconds),
    }
    if load.place == "embedded":
        server.pop("image")
        server["build"] = {"dockerfile_inline": _embedded_image()}
    services = {
        "server": server,
        "gateway": _gateway_service(load, settings),
        "prometheus": prometheus_service(settings),
        "collector": collector_service(settings),
    }
    return {"name": load.name, "services": services}


def _service(spec: ContainerSpec, settings: Settings) -> dict[str, Any]:
    """A container as a service; every ``$`` is doubled, because Compose replaces variables."""
    service: dict[str, Any] = {
        "image": literal(spec.image),
        "command": [literal(word) for word in spec.command],
        "environment": {
            **{name: literal(value) for name, value in sorted(spec.env.items())},
            # Compose takes the value from its own environment, or from .env.
            **dict.fromkeys(spec.inherited),
        },
        "ports": [
            {
                "target": port.container,
                "published": str(port.host),
                "host_ip": settings.compose.address,
            }
            for port in spec.ports
        ],
        "user": spec.user,
        "mem_limit": spec.memory_bytes,
        "stop_grace_period": f"{spec.stop_seconds}s",
        "read_only": spec.read_only,
        "tmpfs": [f"{path}:mode=1777,exec" for path in spec.scratch],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "restart": "unless-stopped",
    }
    if spec.shm_size:
        service["shm_size"] = int(spec.shm_size)
        service["ulimits"] = {"memlock": -1, "stack": 67108864}
    if spec.gpu is not None:
        device = {"driver": "nvidia", "count": spec.gpu.count, "capabilities": ["gpu"]}
        service["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
    return service


def _hub_cache(facts: Facts) -> list[dict[str, Any]]:
    """Weights that an engine downloads stay on the host; the other caches are in memory."""
    if not facts.from_hub:
        return []
    source = "${HF_CACHE:?a directory for downloaded weights}"
    return [{"type": "bind", "source": source, "target": f"{CACHE}/huggingface"}]


def _probe_files() -> list[dict[str, Any]]:
    return [bind(f"./{name}", f"/etc/trtbuild/{name}") for name in ("probe.py", "probe.json")]


def _healthcheck(load: Workload) -> dict[str, Any]:
    """The liveness check; its failures do not count while the server loads."""
    check = load.server.health or HealthCheck(())
    return {
        "test": ["CMD", *check.command],
        "interval": f"{check.period}s",
        "timeout": f"{check.timeout}s",
        "retries": check.failures,
        "start_period": f"{2 * load.load_seconds}s",
    }


def _gateway_service(load: Workload, settings: Settings) -> dict[str, Any]:
    assert load.gateway is not None
    service = _service(load.gateway, settings)
    service["command"] = [
        word.replace(f"127.0.0.1:{HTTP}", f"server:{HTTP}") for word in service["command"]
    ]
    if load.gateway.image == f"trtbuild-gateway:{__version__}":
        install = f"trtbuild=={__version__} trtbuild-gateway=={__version__}\n"
        service["build"] = {"dockerfile_inline": _PYTHON + install}
    keys = [bind(_KEYS, GATEWAY_KEYS)] if settings.gateway.keys else []
    alive = f"import urllib.request as u; u.urlopen('http://127.0.0.1:{GATEWAY}/health/live')"
    return {
        "profiles": ["gateway"],
        **service,
        "volumes": [bind(_REPOSITORY, MOUNT), bind("./gateway.yaml", GATEWAY_FILE), *keys],
        "depends_on": {"server": {"condition": "service_healthy"}},
        "healthcheck": {"test": ["CMD", "python3", "-c", alive], "interval": "10s"},
    }


def _embedded_image() -> str:
    """The embedded server, installed for any user; see docs/concepts/runtime.md."""
    return (
        f"{_PYTHON}trtbuild=={__version__}\n"
        "ENV TRTBUILD_CACHE_DIR=/opt/trtbuild\n"
        "RUN trtbuild runtime install && chmod -R a+rX /opt/trtbuild\n"
    )


def _dev(load: Workload) -> dict[str, Any]:
    """For development: every request is traced, and nothing restarts by itself."""
    words = [word for word in load.server.command if not word.startswith("--trace-config")]
    words += trace_arguments(_COLLECTOR, 1) if load.place == "image" else ()
    command = [literal(word) for word in words]
    return {"services": {"server": {"command": command, "restart": "no"}}}


def _test() -> dict[str, Any]:
    """For a pipeline: one answer of each model, then the end; see ``--exit-code-from``."""
    return {
        "services": {
            "verify": {
                "image": "python:3.12-slim",
                "network_mode": "service:server",
                "command": ["python3", "/etc/trtbuild/probe.py", "startup"],
                "volumes": _probe_files(),
                "depends_on": {"server": {"condition": "service_healthy"}},
            },
            "server": {"restart": "no"},
        }
    }


def _environment(facts: Facts, settings: Settings) -> bytes:
    lines = ["# Copy to .env. Compose reads it; do not commit it.", "MODEL_REPOSITORY="]
    lines += ["HF_CACHE="] if facts.from_hub else []
    lines += ["GATEWAY_KEYS="] if settings.gateway.keys else []
    lines += [f"{name}=" for name in sorted(settings.server.secrets)]
    return ("\n".join(lines) + "\n").encode()


def _notes(facts: Facts, settings: Settings, load: Workload) -> Sequence[str]:
    tag = settings.image or facts.image
    notes = [f"signal {s.name}: {s.missing}" for s in load.metrics.missing]
    notes += load.metrics.unread
    if "@sha256:" not in tag:
        notes.append(f"{tag} is a tag, which can move: give 'image' by digest")
    return notes


target = Compose()

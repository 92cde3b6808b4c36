"""Prometheus and an OTLP collector beside a server, as services and configurations."""

from __future__ import annotations

from typing import Any

from trtbuild_deploy.settings import Settings
from trtbuild_deploy.targets.yamltext import bind, literal
from trtbuild_deploy.workload import GATEWAY, METRICS

RULES = "rules.yaml"


def _side(image: str, profile: str) -> dict[str, Any]:
    return {
        "profiles": [profile],
        "image": literal(image),
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "restart": "unless-stopped",
    }


def prometheus_service(settings: Settings) -> dict[str, Any]:
    port = {"target": 9090, "published": "9090", "host_ip": settings.compose.address}
    return {
        **_side(settings.compose.prometheus, "observe"),
        "command": ["--config.file=/etc/prometheus/prometheus.yaml", "--storage.tsdb.path=/tmp"],
        "volumes": [
            bind(f"./{file}", f"/etc/prometheus/{file}") for file in ("prometheus.yaml", RULES)
        ],
        "ports": [port],
        "read_only": True,
        "tmpfs": ["/tmp:mode=1777"],  # noqa: S108 - inside the container
    }


def collector_service(settings: Settings) -> dict[str, Any]:
    return {
        **_side(settings.compose.collector, "observe"),
        "command": ["--config=/etc/otelcol/collector.yaml"],
        "volumes": [bind("./collector.yaml", "/etc/otelcol/collector.yaml")],
        "read_only": True,
    }


def prometheus(settings: Settings) -> dict[str, Any]:
    """What is scraped, with the labels by which rules find it."""
    labels = dict(settings.observe.labels)
    targets = {"triton": f"server:{METRICS}", "gateway": f"gateway:{GATEWAY}"}
    return {
        "global": {"scrape_interval": "15s"},
        "rule_files": [RULES],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [address], "labels": labels}]}
            for job, address in targets.items()
        ],
    }


def collector(address: str = "0.0.0.0:4318", verbosity: str = "basic") -> dict[str, Any]:
    """Triton sends OTLP over HTTP as JSON, also where the environment asks for protobuf. Its own
    metrics are off: it would take a port for them."""
    return {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": address}}}},
        "processors": {"batch": {}},
        "exporters": {"debug": {"verbosity": verbosity}},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {
                "traces": {"receivers": ["otlp"], "processors": ["batch"], "exporters": ["debug"]}
            },
        },
    }

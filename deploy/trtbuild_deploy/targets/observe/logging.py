"""A pipeline of logs: OpenTelemetry's collector reads those of the pods, parses and ships them."""

from __future__ import annotations

from typing import Any

from trtbuild_deploy.settings import Observe

SERVER_LINE = (
    r"^(?P<level>[VIWEF])(?P<when>\d{4} \d{2}:\d{2}:\d{2}\.\d+)(?: +\d+)? "
    r'(?P<source>[\w./-]+):\d+\] ?"?(?P<message>.*?)"?$'
)
"""A line of Triton, in the syntax of RE2. Messages are JSON strings since about 24.06."""

_LEVELS = {"debug": "V", "info": "I", "warn": "W", "error": "E", "fatal": "F"}
_NAMES = {"debug": "debug", "info": "info", "warn": "warning", "error": "error"}
_STORE = "file_storage"
POSITIONS = "/var/lib/otelcol/file_storage"
"""Where the collector notes how far it has read, and what it could not send yet."""

_KEYS = "${env:ELASTICSEARCH_API_KEY}"


def log_pipeline(name: str, observe: Observe) -> dict[str, Any]:
    """The configuration for the collector of each node, contrib 0.135 or newer.

    Args:
        name: The deployment's, which the names of its pods begin with.
        observe: Its ``loki``, ``elasticsearch`` and ``otlp`` are where lines go.
    """
    exporters = _exporters(observe)
    receivers = {
        "filelog/server": _receiver(name, "server", [*_of_triton(), _request_id()]),
        "filelog/gateway": _receiver(name, "gateway", _of_gateway()),
    }
    return {
        "extensions": {_STORE: {"directory": POSITIONS, "create_directory": True}},
        "receivers": receivers,
        "processors": {
            "memory_limiter": {"check_interval": "1s", "limit_mib": 256},
            "batch": {},
        },
        "exporters": exporters,
        "service": {
            "extensions": [_STORE],
            "pipelines": {
                "logs": {
                    "receivers": sorted(receivers),
                    "processors": ["memory_limiter", "batch"],
                    "exporters": sorted(exporters),
                }
            },
        },
    }


def _exporters(observe: Observe) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if observe.loki:
        # Loki 3 takes OTLP itself.
        found["otlphttp/loki"] = _otlp(f"{observe.loki.rstrip('/')}/otlp")
    if observe.elasticsearch:
        found["elasticsearch"] = {"endpoints": [observe.elasticsearch], "api_key": _KEYS}
    if observe.otlp:
        found["otlphttp"] = _otlp(observe.otlp, observe.otlp_authorization)
    return found


def _otlp(url: str, variable: str = "") -> dict[str, Any]:
    """An exporter for ``url``, to which it adds /v1/logs; ``variable`` has its Authorization."""
    headers = {"headers": {"Authorization": f"${{env:{variable}}}"}} if variable else {}
    base = url.rstrip("/").removesuffix("/v1/logs")
    return {"endpoint": base, **headers, "sending_queue": {"storage": _STORE}}


def _receiver(name: str, container: str, operators: list[dict[str, Any]]) -> dict[str, Any]:
    """The kubelet's directories are NAMESPACE_POD_UID/CONTAINER."""
    return {
        "include": [f"/var/log/pods/*_{name}-*_*/{container}/*.log"],
        "include_file_path": True,
        # Where nothing is stored yet: a server prints why it cannot load before anything reads it.
        "start_at": "beginning",
        "storage": _STORE,
        "retry_on_failure": {"enabled": True},
        "operators": [{"type": "container"}, *operators],
    }


def _of_triton() -> list[dict[str, Any]]:
    """What does not match, such as what a model prints, stays as it is."""
    return [
        {
            "type": "regex_parser",
            "regex": SERVER_LINE,
            "on_error": "send_quiet",
            "timestamp": {
                "parse_from": "attributes.when",
                "layout_type": "gotime",
                "layout": "0102 15:04:05.000000",
                "location": "UTC",
            },
            "severity": {"parse_from": "attributes.level", "mapping": dict(_LEVELS)},
        },
        _moved("attributes.message"),
        _removed("attributes.when"),
        _removed("attributes.level"),
    ]


def _request_id() -> dict[str, Any]:
    return {
        "type": "regex_parser",
        "regex": r"\[request id: (?P<request_id>[^\]<]+)\]",
        "on_error": "send_quiet",
    }


def _of_gateway() -> list[dict[str, Any]]:
    """Its lines are JSON where ``log_format`` says so; the trace joins them with the spans."""
    return [
        {
            "type": "json_parser",
            "on_error": "send_quiet",
            "timestamp": {
                "parse_from": "attributes.time",
                "layout_type": "gotime",
                "layout": "2006-01-02T15:04:05.999999999Z07:00",
            },
            "severity": {"parse_from": "attributes.level", "mapping": dict(_NAMES)},
        },
        {
            "type": "trace_parser",
            "if": 'attributes["trace_id"] != nil',
            "trace_id": {"parse_from": "attributes.trace_id"},
            "on_error": "send_quiet",
        },
        _moved("attributes.message"),
        _removed("attributes.time"),
        _removed("attributes.level"),
    ]


def _moved(field: str) -> dict[str, Any]:
    return {"type": "move", "from": field, "to": "body", "if": _exists(field)}


def _removed(field: str) -> dict[str, Any]:
    return {"type": "remove", "field": field, "if": _exists(field)}


def _exists(field: str) -> str:
    return f'attributes["{field.removeprefix("attributes.")}"] != nil'

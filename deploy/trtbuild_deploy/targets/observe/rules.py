"""Rules of Prometheus: every signal recorded, and the alerts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trtbuild_deploy.facts import Signal, narrowed
from trtbuild_deploy.settings import Observe
from trtbuild_deploy.targets.observe.alerts import Alert

_INTERVAL = "15s"  # as often as the server is scraped


def groups(
    signals: Iterable[Signal], alerts: Iterable[Alert], name: str, observe: Observe
) -> list[dict[str, Any]]:
    """The groups of a rules file for the deployment ``name``."""
    match = matchers(observe)
    labels = dict(sorted(observe.labels.items()))
    records = [_record(signal, match, labels) for signal in signals]
    return [
        {"name": f"{name}-signals", "interval": _INTERVAL, "rules": records},
        {
            "name": f"{name}-alerts",
            "interval": _INTERVAL,
            "rules": [_rule(alert, name, match, labels, observe) for alert in alerts],
        },
    ]


def prometheus_rule(
    name: str, rules: Mapping[str, Any], labels: Mapping[str, str]
) -> dict[str, Any]:
    """A rules file as an object of the Prometheus operator, which selects it by ``labels``."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": dict(rules),
    }


def matchers(observe: Observe) -> str:
    """The label matchers that narrow every series to this deployment."""
    return ",".join(f'{key}="{value}"' for key, value in sorted(observe.labels.items()))


def series(signal: str, match: str = "") -> str:
    """The recorded series of a signal."""
    return f"trtbuild:{signal}{{{match}}}" if match else f"trtbuild:{signal}"


def _record(signal: Signal, match: str, labels: Mapping[str, str]) -> dict[str, Any]:
    rule: dict[str, Any] = {"record": series(signal.name), "expr": signal.promql(match)}
    return {**rule, "labels": dict(labels)} if labels else rule


def _rule(
    alert: Alert, name: str, match: str, labels: Mapping[str, str], observe: Observe
) -> dict[str, Any]:
    limit = f"{getattr(observe, alert.limit):g}" if alert.limit else ""
    text = alert.promql.replace("SIGNAL", series(alert.signal, match)).replace("LIMIT", limit)
    return {
        "alert": alert.name,
        "expr": narrowed(text, match).replace("JOBS", f"triton|gateway|(.+/)?{name}"),
        "for": alert.hold,
        "labels": {**labels, "severity": alert.severity},
        "annotations": {"summary": alert.summary, "description": alert.action},
    }

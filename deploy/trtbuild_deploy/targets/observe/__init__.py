"""Monitoring: rules, routes of alerts and a dashboard, over metrics that exist."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from trtbuild_deploy.facts import Facts, Metrics
from trtbuild_deploy.settings import Settings
from trtbuild_deploy.target import OutputFile, Rendered
from trtbuild_deploy.targets.observe.alerts import Alert, chosen, lacking, recorded
from trtbuild_deploy.targets.observe.dashboard import dashboard_bytes
from trtbuild_deploy.targets.observe.logging import log_pipeline
from trtbuild_deploy.targets.observe.routing import alertmanager
from trtbuild_deploy.targets.observe.rules import groups, prometheus_rule
from trtbuild_deploy.targets.yamltext import yaml_bytes
from trtbuild_deploy.workload import name_in, place_of

_HEADER = "Written by trtbuild observe; `trtbuild deploy diff` shows edits."
_RULES = "rules.yaml"
_ROUTES = "alertmanager.yaml"
_OPERATOR = "prometheusrule.yaml"
_LOGS = "logs.yaml"
_DASHBOARD = "dashboard.json"


class Observe:
    """What watches a deployment, wherever it runs."""

    name = "observe"
    summary = (
        "Prometheus rules, Alertmanager routes and a dashboard, over metrics that really exist."
    )

    def reasons_against(self, facts: Facts, settings: Settings) -> Sequence[str]:  # noqa: ARG002
        """Nothing: every Triton exports some metrics."""
        return ()

    def render(self, facts: Facts, settings: Settings) -> Rendered:
        """Return the rules, for the Prometheus operator too where it scrapes, the routes, and where
        they are wanted the pipeline of logs and the dashboard."""
        metrics = _metrics(facts, settings)
        name = name_in(facts, settings)
        rules = rules_document(facts, settings)
        files = [
            OutputFile(_RULES, yaml_bytes(rules, _HEADER)),
            OutputFile(_ROUTES, yaml_bytes(alertmanager(settings.observe), _HEADER)),
        ]
        if settings.monitoring.kind != "none":
            one = prometheus_rule(name, rules, settings.monitoring.labels)
            files.append(OutputFile(_OPERATOR, yaml_bytes(one, _HEADER)))
        if settings.observe.ships_logs:
            pipeline = log_pipeline(name, settings.observe)
            files.append(OutputFile(_LOGS, yaml_bytes(pipeline, _HEADER)))
        if settings.observe.dashboard:
            content = dashboard_bytes(name, metrics, settings.observe)
            files.append(OutputFile(_DASHBOARD, content))
        absent = lacking(facts, metrics)
        notes = (*(_note(alert, why) for alert, why in absent), *metrics.unread)
        return Rendered(
            tuple(files),
            notes=(*notes, *_left_out(settings)),
            next=(f"promtool check rules {_RULES}", f"amtool check-config {_ROUTES}"),
        )


def rules_document(facts: Facts, settings: Settings) -> dict[str, Any]:
    """A rules file of Prometheus for the deployment, over what it exports."""
    metrics = _metrics(facts, settings)
    name = name_in(facts, settings)
    found = groups(recorded(metrics), chosen(facts, metrics), name, settings.observe)
    return {"groups": found}


def _metrics(facts: Facts, settings: Settings) -> Metrics:
    place = place_of(facts, settings)
    return facts.metrics(gateway=settings.gateway.enabled, place=place)


def _note(alert: Alert, why: str) -> str:
    return f"no alert {alert.name}: {why}"


def _left_out(settings: Settings) -> Iterator[str]:
    for severity in ("page", "notify"):
        if not getattr(settings.observe, severity):
            yield f"alerts of severity {severity} reach nobody: set 'observe.{severity}'"
    if not settings.observe.dashboard:
        yield "no dashboard: set 'observe.dashboard' to true"


target = Observe()

"""Which alerts a deployment can have: ``alerts.toml`` against the metrics that exist."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from trtbuild.signature import ServedTask
from trtbuild_deploy.facts import Facts, Metrics, Signal
from trtbuild_deploy.resources import data_file


@dataclass(frozen=True, slots=True)
class Alert:
    """A row of ``alerts.toml``, whose head says what each field means."""

    name: str
    promql: str
    hold: str
    severity: str
    summary: str
    action: str
    signal: str = ""
    families: tuple[str, ...] = ()
    limit: str = ""
    needs: str = ""
    missing: str = ""


def recorded(metrics: Metrics) -> tuple[Signal, ...]:
    """The signals that are recorded: those that exist."""
    return tuple(signal for signal in metrics.signals.values() if signal.exists)


def chosen(facts: Facts, metrics: Metrics) -> tuple[Alert, ...]:
    """The alerts whose metrics exist."""
    return tuple(one for one in _applying(facts) if not _lack(one, metrics))


def lacking(facts: Facts, metrics: Metrics) -> tuple[tuple[Alert, str], ...]:
    """The alerts whose metrics do not exist, each with what to do."""
    pairs = ((one, _lack(one, metrics)) for one in _applying(facts))
    return tuple((one, why) for one, why in pairs if why)


def _applying(facts: Facts) -> Iterator[Alert]:
    """The alerts that mean something for such models."""
    met = {
        "": True,
        "gpu": facts.gpus > 0,
        "text": all(ServedTask(model.task).makes_text for model in facts.models),
    }
    return (one for one in _table() if met[one.needs])


def _lack(alert: Alert, metrics: Metrics) -> str:
    if alert.signal:
        return metrics.signals[alert.signal].missing
    return "" if set(alert.families) <= set(metrics.families) else alert.missing


@cache
def _table() -> tuple[Alert, ...]:
    text = data_file("alerts.toml").read_text(encoding="utf-8")
    return tuple(_alert(row) for row in tomllib.loads(text)["alert"])


def _alert(row: Mapping[str, Any]) -> Alert:
    rest = {key: value for key, value in row.items() if key not in ("for", "from")}
    return Alert(**rest, hold=row["for"], families=tuple(row.get("from", ())))

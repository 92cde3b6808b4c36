"""What a new version is judged by while it serves: the same table for Argo and for `rollout`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trtbuild_deploy.facts import Metrics, Signal
from trtbuild_deploy.settings import Settings

_SECONDS = ("first_token", "proxy_seconds")


@dataclass(frozen=True, slots=True)
class Analysis:
    """One measurement.

    Attributes:
        name: What is measured.
        query: PromQL for one number, the worst of all models.
        limit: The largest good value.
        needed: Whether a version without a value is not promoted.
    """

    name: str
    query: str
    limit: float
    needed: bool = True


def analyses(
    metrics: Metrics, settings: Settings, new: str, stable: str, window: str = ""
) -> Iterator[Analysis]:
    """Yield what can be measured with ``metrics``.

    Args:
        metrics: What the new version exports, and what the proxy in front of it does.
        settings: Its section ``gate`` holds the limits.
        new: Label matchers of the new version's series.
        stable: Those of the stable version's.
        window: Of rates, such as ``30s``; default: the table's.
    """
    gate = settings.gate
    limits = {
        "errors": gate.errors,
        "proxy_errors": gate.errors,
        "dead_engine": 0,
        "stuck": 0,
        "first_token": gate.first_token,
    }
    signals = {name: one for name, one in metrics.signals.items() if one.exists}
    for name, limit in limits.items():
        if name in signals:
            yield Analysis(name, _worst(signals[name], new, window), limit)
    seconds = next((signals[name] for name in _SECONDS if name in signals), None)
    if seconds:
        # Without users the stable version has no time to compare with.
        query = f"{_worst(seconds, new, window)} - {_worst(seconds, stable, window)}"
        yield Analysis("slower", query, gate.slower, needed=False)


def _worst(signal: Signal, match: str, window: str) -> str:
    return f"max({signal.promql(match, window)})"

"""What an autoscaler asks for: a signal whose metrics exist."""

from __future__ import annotations

from collections.abc import Iterator

from trtbuild_deploy.facts import Facts, Signal
from trtbuild_deploy.facts.metrics import Metrics
from trtbuild_deploy.settings import Settings
from trtbuild_deploy.workload import place_of

# The chart puts its own in their place. A pod of a Deployment ends in a hash and five characters,
# one of a LeaderWorkerSet in one or two numbers: "chat" must not count the pods of "chat-eu".
_MATCH = 'namespace="__NAMESPACE__",pod=~"__RELEASE__-([a-z0-9]+-[a-z0-9]{5}|[0-9]+(-[0-9]+)?)"'


def reasons_against_scaling(facts: Facts, settings: Settings) -> Iterator[str]:
    """Return why the autoscaler would see nothing."""
    if settings.autoscaling.kind == "none":
        return
    metrics = _metrics(facts, settings)
    signal = _signal(metrics, settings)
    if not signal.exists:
        yield (
            f"'autoscaling.signal' {signal.name}: Triton {facts.release} with "
            f"{', '.join(facts.builders)} exports no metric for it; {signal.missing}"
        )
    elif settings.autoscaling.kind == "hpa" and not scaling_metric(facts, settings):
        yield (
            f"'autoscaling.kind' hpa needs a gauge of each pod, and {signal.name} is computed from "
            f"{', '.join(signal.families)}: use keda, or deploy the gateway"
        )


def scaling_query(facts: Facts, settings: Settings) -> str:
    """Return the expression for KEDA; empty without an autoscaler."""
    if settings.autoscaling.kind == "none":
        return ""
    signal = _signal(_metrics(facts, settings), settings)
    expression = signal.promql(_MATCH)
    return expression if expression.startswith("sum(") else f"sum({expression})"


def scaling_metric(facts: Facts, settings: Settings) -> str:
    """Return the gauge that an HPA averages over pods; empty if the signal has none."""
    metrics = _metrics(facts, settings)
    families = _signal(metrics, settings).families
    gauges = [name for name in families if metrics.families[name].kind == "gauge"]
    return gauges[0] if gauges and len(metrics.families[gauges[0]].labels) <= 2 else ""


def _metrics(facts: Facts, settings: Settings) -> Metrics:
    return facts.metrics(gateway=settings.gateway.enabled, place=place_of(facts, settings))


def _signal(metrics: Metrics, settings: Settings) -> Signal:
    name = settings.autoscaling.signal
    if name == "auto":
        name = "queue" if metrics.signals["queue"].exists else "in_flight"
    return metrics.signals[name]

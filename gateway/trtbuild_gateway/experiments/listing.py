"""What runs now: experiments with their variants, and what this process has counted of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client.metrics import MetricWrapperBase

from trtbuild_gateway.experiment_settings import ExperimentSettings
from trtbuild_gateway.experiments.exposures import LEFT
from trtbuild_gateway.experiments.figures import Figures
from trtbuild_gateway.experiments.running import Experiments

_Sums = Mapping[tuple[str, ...], float]


def listing(experiments: Experiments, visible: Callable[[str], bool]) -> dict[str, Any]:
    """Return the experiments whose models are all visible, for JSON.

    A variant has its share of the experiment's users, and the requests that this process has
    answered since it started.
    """
    figures = experiments.figures
    shown = [
        one
        for one in experiments.settings
        if all(visible(model) for model in (one.asked, *_models(one)))
    ]
    left_out = _sums(figures.left_out, "experiment", "reason")
    rows = [
        {
            "name": one.name,
            "model": one.asked,
            "unit": one.unit,
            "layer": one.layer or one.name,
            "users": list(one.users),
            "override": one.override,
            "left_out": {
                reason: int(n) for (name, reason), n in left_out.items() if name == one.name
            },
            "variants": list(_variants(one, figures)),
        }
        for one in shown
    ]
    journal = experiments.journal
    records = {"waiting": journal.waiting, "lost": journal.lost}
    return {"object": "list", "data": rows, "exposures": records}


def _models(experiment: ExperimentSettings) -> Iterable[str]:
    return (one.model for one in experiment.variants.values())


def _variants(experiment: ExperimentSettings, figures: Figures) -> Iterable[dict[str, Any]]:
    requests = _sums(figures.requests, "experiment", "variant", "error")
    feedback = _sums(figures.feedback, "experiment", "variant")
    waited = _sums(figures.first, "experiment", "variant", suffix="_sum")
    streams = _sums(figures.first, "experiment", "variant", suffix="_count")
    total = sum(one.weight for one in experiment.variants.values())
    for name, one in experiment.variants.items():
        key = (experiment.name, name)
        ends = Counter({code: n for (*own, code), n in requests.items() if tuple(own) == key})
        yield {
            "name": name,
            "model": one.model,
            "weight": one.weight,
            "share": one.weight / total,
            "requests": int(ends.total()),
            "errors": int(ends.total() - ends[""] - ends[LEFT]),
            "left": int(ends[LEFT]),
            "feedback": int(feedback.get(key, 0)),
            "first_token_seconds": waited[key] / streams[key] if streams.get(key) else None,
        }


def _sums(metric: MetricWrapperBase, *labels: str, suffix: str = "_total") -> _Sums:
    """Return the samples of a metric by the values of these labels."""
    (family,) = metric.collect()
    wanted = family.name + suffix
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for sample in family.samples
        if sample.name == wanted
    }

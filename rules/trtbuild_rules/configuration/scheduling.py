"""Scheduling: priorities, queues, batches, and what the server reads from parameters and tags."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.model import Severity

_DELAY = 1  # ModelQueuePolicy.TimeoutAction


@rule(
    "TRT311",
    "priority levels are in range",
    fix="number the levels from 1 to priority_levels, and set default_priority_level",
    mirrors="ValidateModelConfig",
    bad="dynamic_batching { priority_levels: 2 }",
    good="dynamic_batching { priority_levels: 2 default_priority_level: 1 }",
)
def priority_levels(model: Model) -> Problems:
    """With ``priority_levels`` a default must be set, because 0 is not a level, and a queue
    policy needs an existing level."""
    batching = model.config.dynamic_batching
    levels = batching.priority_levels
    if levels and not 1 <= batching.default_priority_level <= levels:
        yield Problem(
            f"default_priority_level is {batching.default_priority_level} of {levels} levels",
            model.at("dynamic_batching", "default_priority_level"),
            server=f"default priority level must be in range [1, {levels}] for {model.called}",
        )
    for level in batching.priority_queue_policy if levels else ():
        if not 1 <= level <= levels:
            yield Problem(
                f"a priority_queue_policy for level {level}, but there are {levels} levels",
                model.at("dynamic_batching", "priority_queue_policy"),
                server="priority queue policy must have priority level in range "
                f"[1, {levels}] for {model.called}",
            )


@rule(
    "TRT312",
    "a preserved order has one priority level and no delay",
    fix="remove preserve_ordering, or priority_levels and DELAY",
    mirrors="ValidateModelConfig",
    bad="dynamic_batching { preserve_ordering: true priority_levels: 2 default_priority_level: 1 }",
    good="dynamic_batching { preserve_ordering: true }",
)
def preserved_order(model: Model) -> Problems:
    """Responses cannot keep the order of requests when some requests overtake others."""
    batching = model.config.dynamic_batching
    if not batching.preserve_ordering:
        return
    at = model.at("dynamic_batching", "preserve_ordering")
    if batching.priority_levels > 1:
        yield Problem(
            f"preserve_ordering with {batching.priority_levels} priority levels",
            at,
            server="Only one priority level is allowed when 'preserve_ordering' is true for "
            f"{model.called}",
        )
    policies = [batching.default_queue_policy, *batching.priority_queue_policy.values()]
    if any(p.default_timeout_microseconds and p.timeout_action == _DELAY for p in policies):
        yield Problem(
            "preserve_ordering with a queue policy that delays",
            at,
            server="Queue policy can not have DELAY as timeout action when 'preserve_ordering' is "
            f"true for {model.called}",
        )


@rule(
    "TRT313",
    "a custom batching library exists",
    fix="remove TRITON_BATCH_STRATEGY_PATH, or name a file that the server has",
    mirrors="TritonModel::Create",
    bad=[
        "sequence_batching { }\n"
        'parameters { key: "TRITON_BATCH_STRATEGY_PATH" value { string_value: "/x.so" } }',
        'parameters { key: "TRITON_BATCH_STRATEGY_PATH" value { string_value: "/models/m/x.so" } }',
    ],
    good="sequence_batching { }",
)
def batch_strategy(model: Model) -> Problems:
    """The parameter names a library on the server's machine, which newer servers require inside
    the model repository; a sequence model has none."""
    key = "TRITON_BATCH_STRATEGY_PATH"
    if key in model.config.parameters and model.config.HasField("sequence_batching"):
        yield Problem(
            f"{key} in a model with sequence_batching",
            model.at_parameter(key),
            server=f"{key} cannot be specified with sequence batcher, using default batching "
            "strategy",
        )
    elif key in model.config.parameters and not _is_inside(model, model.parameters()[key]):
        yield Problem(
            f"the library {model.parameters()[key]!r} is outside the model's directory",
            model.at_parameter(key),
            server="Batching library path",
            severity=Severity.WARNING if model.parameters()[key] else Severity.ERROR,
        )
    elif key in model.config.parameters and not _here(model, model.parameters()[key]).exists():
        yield Problem(
            f"there is no {model.parameters()[key]}",
            model.at_parameter(key),
            server=f"Batching library path not found: {model.parameters()[key]}",
        )


def _is_inside(model: Model, path: str) -> bool:
    """Whether a path on the server is one of the model, mounted where containers have it or
    here."""
    return ".." not in path and path.startswith((f"/models/{model.name}/", f"{model.path}/"))


def _here(model: Model, path: str) -> Path:
    return model.path / path.removeprefix(f"{model.path}/").removeprefix(f"/models/{model.name}/")


_LABEL = re.compile(r"[a-zA-Z0-9_]+")


@rule(
    "TRT314",
    "metric tags are valid names of Prometheus labels",
    fix="use letters, digits and '_', not starting with a digit or '__'",
    mirrors="MetricModelReporter::Create",
    bad=['metric_tags { key: "a-b" value: "x" }', 'metric_tags { key: "1a" value: "x" }'],
    good='metric_tags { key: "a_b" value: "x" }',
)
def metric_tags(model: Model) -> Problems:
    """The server makes a Prometheus label of every key, and an invalid one crashes it, and with
    it every model. One that starts with a digit is a warning: the server takes it, but Prometheus
    reads none of its metrics then."""
    for key in sorted(model.config.metric_tags):
        crashes = not _LABEL.fullmatch(key) or key.startswith("__")
        if key and (crashes or key[0].isdigit()):
            yield Problem(
                f"the tag {key!r} is not a valid label name",
                model.positions.entry("metric_tags", key=key),
                severity=None if crashes else Severity.WARNING,
            )


@rule(
    "TRT315",
    "histograms of metrics have a family and buckets",
    fix="write metric_identifier { family: … } and histogram_options { buckets: […] }",
    mirrors="ValidateModelMetrics",
    bad="model_metrics { metric_control { } }",
    good=(
        "model_metrics { metric_control {\n"
        '  metric_identifier { family: "nv_inference_first_response_histogram_ms" }\n'
        "  histogram_options { buckets: [ 1, 10 ] }\n} }"
    ),
)
def model_metrics(model: Model) -> Problems:
    """``model_metrics`` changes the buckets of a histogram, so it must name both."""
    for number, control in enumerate(model.config.model_metrics.metric_control):
        for what, missing in _missing_in(control):
            yield Problem(
                f"metric_control {number + 1} has no {missing}",
                model.at("model_metrics", 0, "metric_control", number, name=True),
                server=f"{what} must specify {missing}",
            )


def _missing_in(control: Any) -> Iterator[tuple[str, str]]:
    if not control.HasField("metric_identifier"):
        yield "metric control", "'metric_identifier'"
    elif not control.metric_identifier.family:
        yield "metric identifier", "non-empty 'family'"
    if not control.HasField("histogram_options"):
        yield "metric control", "'histogram_options'"
    elif not control.histogram_options.buckets:
        yield "histogram options", "non-empty 'buckets'"

"""Triton's ``/metrics``: the server's own figures of its queue, batches and caches."""

from __future__ import annotations

from collections.abc import Mapping

from trtbuild.wire.blocking import fetch
from trtbuild.wire.failures import WireError
from trtbuild.wire.metrics import parse_metrics

Sample = dict[str, float]
"""Values by metric name, summed over the label sets of the model."""


def read_metrics(url: str, model: str) -> Sample | None:
    """Scrape the values of ``model``; None if nothing answers."""
    try:
        response = fetch(url, seconds=2)
        text = response.body.decode("utf-8", "replace")
        return sample_of(text, model) if response.good else None
    except (WireError, ValueError):  # the latter: another protocol answers
        return None


def sample_of(text: str, model: str) -> Sample:
    """Return the values labelled with ``model`` (``model`` or ``model_name``) or with no model.

    Raises:
        ValueError: The text is not in the Prometheus format.
    """
    sample: Sample = {}
    for metric in parse_metrics(text):
        owner = metric.labels.get("model") or metric.labels.get("model_name")
        if owner is None or owner == model:
            sample[metric.name] = sample.get(metric.name, 0.0) + metric.value
    return sample


_GAUGES = {
    "vllm:num_requests_running": "running",
    "vllm:num_requests_waiting": "waiting",
    "vllm:kv_cache_usage_perc": "kv_cache_usage",
    "vllm:gpu_cache_usage_perc": "kv_cache_usage",
    "nv_inference_pending_request_count": "triton_pending",
}


def gauges(sample: Mapping[str, float]) -> dict[str, float]:
    """Return the gauges to follow, by our names."""
    return {ours: sample[name] for name, ours in _GAUGES.items() if name in sample}


def differences(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return the increments of counters."""
    return {
        name: value - before.get(name, 0.0) for name, value in after.items() if name not in _GAUGES
    }


def per_request(grown: Mapping[str, float]) -> dict[str, float]:
    """Return Triton's times per request and batch size from the increments of its counters.

    ``nv_inference_*_duration_us`` are cumulative over requests; ``nv_inference_count`` counts
    inferences and ``nv_inference_exec_count`` the batches they ran in.
    """
    found: dict[str, float] = {}
    requests = grown.get("nv_inference_request_success", 0.0)
    if requests:
        for part in ("queue", "compute_infer", "request"):
            if (name := f"nv_inference_{part}_duration_us") in grown:
                found[f"triton_{part}_ms"] = grown[name] / requests / 1e3
    batches = grown.get("nv_inference_exec_count", 0.0)
    if batches:
        found["triton_batch_size"] = grown.get("nv_inference_count", 0.0) / batches
    for name, ours in (
        ("vllm:generation_tokens", "vllm_generation_tokens"),
        ("vllm:num_preemptions", "vllm_preemptions"),
    ):
        if name in grown:
            found[ours] = grown[name]
    return found

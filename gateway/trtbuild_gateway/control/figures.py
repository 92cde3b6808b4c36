"""What a server's ``/metrics`` tell of the queue and cache of each model, and of its GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trtbuild.wire.metrics import Metric, parse_metrics

_OF_MODEL = {
    "nv_inference_pending_request_count": "queued",
    "vllm:num_requests_waiting": "engine_waiting",
    "vllm:num_requests_running": "engine_running",
    "vllm:kv_cache_usage_perc": "kv_cache_usage",
}
# TensorRT-LLM has one name for several values, which a label tells apart.
_BY_LABEL = {
    ("nv_trt_llm_request_metrics", "request_type", "waiting"): "engine_waiting",
    ("nv_trt_llm_request_metrics", "request_type", "scheduled"): "engine_running",
    (
        "nv_trt_llm_kv_cache_block_metrics",
        "kv_cache_block_type",
        "fraction",
    ): "kv_cache_usage",
}
_OF_GPU = {
    "nv_gpu_memory_used_bytes": "memory_used_bytes",
    "nv_gpu_memory_total_bytes": "memory_total_bytes",
    "nv_gpu_utilization": "utilization",
}


@dataclass
class ServerFigures:
    """Values by model, and by GPU."""

    models: dict[str, dict[str, float]] = field(default_factory=dict)
    gpus: dict[str, dict[str, float]] = field(default_factory=dict)


def read_figures(page: str) -> ServerFigures:
    """Return what is known; ValueError for a page that is not in the Prometheus format."""
    found = ServerFigures()
    for metric in parse_metrics(page):
        labels = metric.labels
        model = labels.get("model") or labels.get("model_name") or ""
        name = _OF_MODEL.get(metric.name) or _labelled(metric, labels)
        if model and name:
            values = found.models.setdefault(model, {})
            values[name] = values.get(name, 0.0) + metric.value  # versions and instances
        elif metric.name in _OF_GPU and (gpu := labels.get("gpu_uuid")):
            found.gpus.setdefault(gpu, {})[_OF_GPU[metric.name]] = metric.value
    return found


def _labelled(metric: Metric, labels: Mapping[str, str]) -> str:
    for (metric_name, label, value), name in _BY_LABEL.items():
        if metric.name == metric_name and labels.get(label) == value:
            return name
    return ""

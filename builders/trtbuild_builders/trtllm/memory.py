"""Translate TensorRT-LLM's settings to vLLM's names for the memory model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trtbuild_builders.memory import Names

MEMORY_NAMES = Names(
    length="max_seq_len",
    sequences="max_batch_size",
    cache_type="kv_cache_config.dtype",
    quantization="",
    four_bit=False,  # it supports plain weights or its own formats
)
# vLLM's name -> ours, dots for objects
_SETTINGS = {
    "dtype": "dtype",
    "max_model_len": "max_seq_len",
    "max_num_seqs": "max_batch_size",
    "max_num_batched_tokens": "max_num_tokens",
    "gpu_memory_utilization": "kv_cache_config.free_gpu_memory_fraction",
    "kv_cache_dtype": "kv_cache_config.dtype",
    "tensor_parallel_size": "tensor_parallel_size",
    "pipeline_parallel_size": "pipeline_parallel_size",
}
# Defaults of TensorRT-LLM's TorchLlmArgs and KvCacheConfig.
_DEFAULTS: Mapping[str, Any] = {
    "max_num_seqs": 2048,
    "max_num_batched_tokens": 8192,
    "gpu_memory_utilization": 0.9,
}


def memory_arguments(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a recipe, with TensorRT-LLM's defaults."""
    given = {name: _at(settings, path) for name, path in _SETTINGS.items()}
    return {**_DEFAULTS, **{name: value for name, value in given.items() if value is not None}}


def _at(settings: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path, or None."""
    value: Any = settings
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value

"""The memory model, which speaks vLLM's names, for builders that have names of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from trtbuild.builder import Builder, Case, EngineBuilder
from trtbuild.plan import Alternative, MemoryPlan

_SHARE = "kv_cache_free_gpu_mem_fraction"
_DEFAULT_SHARE = 0.9  # the backend's own
# vLLM's name -> the engine flow's
_NAMES = {
    "max_model_len": "max_seq_len",
    "max_num_seqs": "max_batch_size",
    "max_num_batched_tokens": "max_num_tokens",
    "gpu_memory_utilization": _SHARE,
    "tensor_parallel_size": "tensor_parallel_size",
    "pipeline_parallel_size": "pipeline_parallel_size",
}


def load_arguments(builder: Builder, case: Case) -> dict[str, Any] | None:
    """What the memory model is to read instead of the recipe's settings; None: those."""
    recipe = case.recipe
    if builder.memory_names:
        given = {name: _at(recipe.engine, ours) for name, ours in builder.memory_names.items()}
        given = {name: value for name, value in given.items() if value is not None}
        return {**builder.memory_defaults, **given}
    if not isinstance(builder, EngineBuilder):
        return None
    engine = builder.engine_expected(case)
    return {
        "dtype": engine.dtype,
        "tensor_parallel_size": engine.tp,
        "pipeline_parallel_size": engine.pp,
        "max_model_len": engine.max_seq_len,
        "max_num_seqs": engine.max_batch_size,
        "max_num_batched_tokens": engine.max_num_tokens,
        "gpu_memory_utilization": recipe.engine.get(_SHARE, _DEFAULT_SHARE),
    }


def in_its_words(builder: Builder, memory: MemoryPlan) -> MemoryPlan:
    """``memory`` with the builder's names, and without what it cannot be told."""
    names = _names(builder)
    if not names:
        return memory
    kept = [
        one
        for one in memory.alternatives
        # TensorRT-LLM takes plain weights or its own formats: no way out by AWQ
        if set(one.settings) <= set(names) and "AWQ" not in one.text
    ]
    others = tuple(
        Alternative(_translated(one.text, names), {names[k]: v for k, v in one.settings.items()})
        for one in kept
    )
    nearest = others[0].text if others else "" if memory.alternatives else memory.nearest
    settings = others[0].settings if others else {}
    rows = tuple(replace(row, note=_translated(row.note, names)) for row in memory.rows)
    return replace(memory, alternatives=others, nearest=nearest, settings=settings, rows=rows)


def _names(builder: Builder) -> Mapping[str, str]:
    if builder.memory_names:
        return builder.memory_names
    return _NAMES if isinstance(builder, EngineBuilder) else {}


def _at(settings: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, None when it is not there."""
    found: Any = settings
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _translated(text: str, names: Mapping[str, str]) -> str:
    for name, ours in names.items():
        text = text.replace(name, ours)
    return text

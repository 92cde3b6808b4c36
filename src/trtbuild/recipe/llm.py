"""What TensorRT-LLM's ``LLM()`` refuses of arguments that are right one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from trtbuild.recipe.objects import Finding, argument_findings
from trtbuild.toolchain import TrtllmRelease
from trtbuild.wire.syntax import number


def llm_problems(settings: Mapping[str, Any], release: TrtllmRelease) -> tuple[str, ...]:
    """What is wrong with arguments of ``LLM()``, one sentence each with the dotted name."""
    return tuple(said for _, said in llm_findings(settings, release))


def llm_findings(settings: Mapping[str, Any], release: TrtllmRelease) -> Iterator[Finding]:
    """The same, each sentence after the dotted name that it is about."""
    found = list(argument_findings(settings, release))
    yield from found
    yield from _together(settings, release)
    if not found:
        yield from _graphs(settings.get("cuda_graph_config") or {})
        yield from _schedule(settings.get("speculative_config") or {})
        yield from _balance(settings.get("attention_dp_config") or {})


def _together(settings: Mapping[str, Any], release: TrtllmRelease) -> Iterator[Finding]:
    for name, other, value in release.together:
        if settings.get(name) is not None and settings.get(other) != value:
            yield name, f"{name!r} needs {other}={value}"


def _graphs(config: Mapping[str, Any]) -> Iterator[Finding]:
    """Batch sizes are made from the largest one, or given: both only where they are the same."""
    sizes, largest = config.get("batch_sizes"), config.get("max_batch_size", 0)
    padded = bool(config.get("enable_padding"))
    if sizes and largest and sorted(sizes) != _made_sizes(largest, padded):
        yield (
            "cuda_graph_config.batch_sizes",
            "'cuda_graph_config' takes batch_sizes or max_batch_size, not both",
        )


def _made_sizes(largest: int, padded: bool) -> list[int]:
    """The batch sizes that TensorRT-LLM captures when only the largest is given."""
    small = [1, 2, 4, *range(8, 129, 8)] if padded else [*range(1, 33), 64, 128]
    powers = [2**n for n in range(8, math.ceil(math.log2(largest)))]
    sizes = [size for size in (*small, *powers) if size <= largest]
    return sizes if sizes[-1] == largest else [*sizes, largest]


def _schedule(config: Mapping[str, Any]) -> Iterator[Finding]:
    """Lengths of drafts by batch size: thresholds, the first of which is 1."""
    schedule = config.get("draft_len_schedule")
    if not isinstance(schedule, Mapping):
        return
    where = "speculative_config.draft_len_schedule"
    sizes = {str(size): length for size, length in schedule.items()}
    longest = config.get("max_draft_len")
    if not all(number(size) for size in sizes):
        yield where, f"every batch size in {where!r} must be a positive whole number"
    elif not all(type(length) is int and length >= 0 for length in sizes.values()):
        yield where, f"every length in {where!r} must be a whole number of at least 0"
    elif "1" not in sizes:
        yield where, f"{where!r} needs a length for batch size 1"
    elif longest is not None and (sizes["1"] != longest or max(sizes.values()) > longest):
        yield (
            where,
            f"{where!r} must have max_draft_len={longest} for batch size 1 and no longer length",
        )


def _balance(config: Mapping[str, Any]) -> Iterator[Finding]:
    for name in ("timeout_iters", "batching_wait_iters"):
        if config.get("enable_balance") and config.get(name, 0) < 0:
            yield f"attention_dp_config.{name}", f"'attention_dp_config.{name}' must be at least 0"

"""The memory plan of a deployment: a verdict for a GPU, or a survey of all known GPUs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from trtbuild import hardware
from trtbuild.hardware import GpuInfo, GpuTarget
from trtbuild.modelspec import ModelSpec
from trtbuild.plan import Demand, GpuNeed, MemoryPlan
from trtbuild.toolchain import Toolchain, vllm_release
from trtbuild_builders.memory import formulas
from trtbuild_builders.memory.alternatives import (
    MANY,
    Fit,
    Names,
    alternatives,
    smallest_gpu,
    tensor_sizes,
)
from trtbuild_builders.memory.load import MemoryDemand, load_of


def plan_memory(
    spec: ModelSpec,
    toolchain: Toolchain,
    target: GpuTarget,
    demand: Demand,
    *,
    arguments: Mapping[str, Any],
    names: Names | None = None,
) -> MemoryPlan:
    """Return what a deployment needs on each GPU, and whether it fits ``target``.

    Args:
        spec: The checkpoint.
        toolchain: The release; its vLLM's defaults apply where ``arguments`` has no value.
        target: The GPUs; without one, every known GPU is considered.
        demand: Concurrent sequences (default 16) and tokens of each (default 4096).
        arguments: The engine's settings under vLLM's names.
        names: How the suggested settings are spelled; default: vLLM's.
    """
    names = names or Names()
    release = vllm_release(toolchain.vllm) if toolchain.vllm else None
    converted = {"dtype": spec.dtype} if spec.source.kind in {"gguf", "sample"} else {}

    def load_on(gpu: GpuInfo | None) -> MemoryDemand:
        return load_of(
            spec,
            {**converted, **arguments},
            release,
            gpu,
            concurrency=demand.concurrency,
            length=demand.length,
        )

    gpu = target.gpu
    if gpu is None:
        return _survey(spec, load_on, names)
    return _verdict(Fit(spec, load_on(gpu), gpu, target.count, release, load_on, names))


def _verdict(fit: Fit) -> MemoryPlan:
    load, gpu = fit.load, fit.gpu
    usable = int(gpu.memory_bytes * load.utilization)
    fits = fit.fits(load)
    others = () if fits else alternatives(fit)
    return MemoryPlan(
        gpu=gpu.name,
        gpus=fit.gpus,
        capacity_bytes=gpu.memory_bytes,
        usable_bytes=usable,
        rows=formulas.rows(fit.spec, load, fit.names.length),
        concurrency=load.concurrency,
        length=load.length,
        fits=fits,
        max_concurrency=_bounded(fit.spec, load, usable) if load.world <= fit.gpus else 0,
        nearest=others[0].text if others else "",
        settings=others[0].settings if others else {},
        alternatives=others,
        world=load.world,
    )


def _bounded(spec: ModelSpec, load: MemoryDemand, usable: int) -> int:
    return min(formulas.max_concurrency(spec, load, usable), load.max_seqs)


def _survey(
    spec: ModelSpec, load_on: Callable[[GpuInfo | None], MemoryDemand], names: Names
) -> MemoryPlan:
    """Return, without a target, what is needed, and how many of each known GPU."""
    load = load_on(None)
    found = smallest_gpu(spec, load_on)
    needs = tuple(
        need for gpu in hardware.gpus() if (need := _gpus_needed(spec, load_on(gpu), gpu))
    )
    nearest = f"the smallest known GPU that holds it is {found.title}" if found else ""
    if not found:
        few = min(needs, key=lambda need: (need.count, need.memory_bytes), default=None)
        nearest = f"no single GPU holds it; {few.count} x {few.title} do" if few else ""
    return MemoryPlan(
        gpu="",
        gpus=0,
        capacity_bytes=0,
        usable_bytes=0,
        rows=formulas.rows(spec, load, names.length),
        concurrency=load.concurrency,
        length=load.length,
        fits=None,
        max_concurrency=0,
        nearest=nearest,
        needs=needs,
        world=load.world,
    )


def _gpus_needed(spec: ModelSpec, load: MemoryDemand, gpu: GpuInfo) -> GpuNeed | None:
    """Return the smallest number of one kind of GPU on which it fits; None above MANY."""
    for size in tensor_sizes(spec, MANY):
        if size < load.tensor:
            continue
        spread = replace(load, tensor=size)
        usable = gpu.memory_bytes * load.utilization
        if formulas.needed(spec, spread) <= usable:
            most = _bounded(spec, spread, int(usable))
            return GpuNeed(gpu.name, gpu.title, gpu.memory_bytes, spread.world, most)
    return None

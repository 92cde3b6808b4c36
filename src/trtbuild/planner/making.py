"""Putting the plan together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from trtbuild import hardware
from trtbuild.builder import Case, Discovered
from trtbuild.errors import UsageError
from trtbuild.hardware import GpuInfo, GpuTarget
from trtbuild.memory import formulas
from trtbuild.memory.alternatives import MANY, Fit, alternatives, smallest_gpu, tensor_sizes
from trtbuild.memory.load import Load, load_of
from trtbuild.modelspec import ModelSpec
from trtbuild.plan import BuildPlan, GpuNeed, MemoryPlan
from trtbuild.planner.choice import choose_builder
from trtbuild.planner.engine_flow import in_its_words, load_arguments
from trtbuild.planner.generation import require_able
from trtbuild.planner.warnings import warnings
from trtbuild.recipe import ModelRecipe
from trtbuild.toolchain import Toolchain, vllm_release


def make_plan(
    spec: ModelSpec,
    model_recipe: ModelRecipe,
    toolchain: Toolchain,
    *,
    gpu: str = "",
    gpus: int = 1,
    concurrency: int | None = None,
    length: int | None = None,
    builders: Sequence[Discovered] = (),
) -> BuildPlan:
    """The plan of one model. Pure: it reads tables, never the network or the machine.

    Args:
        spec: The checkpoint.
        model_recipe: What is asked for.
        toolchain: The Triton release.
        gpu: A GPU's name; empty for a table without a verdict.
        gpus: How many of them one server has.
        concurrency: Sequences at once; default 16.
        length: Tokens of each; default 4096 or the context length, whichever is less.
        builders: For tests; default all that are installed.

    Raises:
        UsageError: An unknown GPU or builder, or a count below 1.
        RecipeError: A wrong engine argument.
        UnsupportedError: No builder can, or not on that GPU.
    """
    _check_counts(gpus=gpus, concurrency=concurrency, length=length)
    info = hardware.gpu(gpu) if gpu else None
    case = Case(spec, model_recipe, toolchain, GpuTarget(info, gpus))
    builder, reason, rejected = choose_builder(case, builders)
    image = builder.image(toolchain)
    if info:
        require_able(spec, toolchain, info, image=image)
    steps = tuple(builder.steps(case))
    release = vllm_release(toolchain.vllm) if toolchain.vllm else None
    engine = load_arguments(builder, case) or model_recipe.engine
    if spec.source.kind in {"gguf", "sample"}:
        engine = {"dtype": spec.dtype, **engine}

    def load_on(which: GpuInfo | None) -> Load:
        return load_of(spec, engine, release, which, concurrency=concurrency, length=length)

    fit = Fit(spec, load_on(info), info, gpus, release, load_on) if info else None
    return BuildPlan(
        model=model_recipe.name or spec.source.text,
        builder=builder.name,
        reason=reason,
        rejected=rejected,
        steps=steps,
        triton=toolchain.triton,
        image=image,
        memory=in_its_words(builder, _verdict(fit) if fit else _survey(spec, load_on)),
        warnings=(
            *warnings(spec, model_recipe, toolchain, info, gpus, image=image),
            *builder.warnings(case),
        ),
    )


def _check_counts(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UsageError(f"--{name} {count} is not a count", fix=f"give --{name} 1 or more")


def _verdict(case: Fit) -> MemoryPlan:
    load, gpu = case.load, case.gpu
    usable = int(gpu.memory_bytes * load.utilization)
    fits = case.fits(load)
    others = () if fits else alternatives(case)
    return MemoryPlan(
        gpu=gpu.name,
        gpus=case.gpus,
        capacity_bytes=gpu.memory_bytes,
        usable_bytes=usable,
        rows=formulas.rows(case.spec, load),
        concurrency=load.concurrency,
        length=load.length,
        fits=fits,
        max_concurrency=_bounded(case.spec, load, usable) if load.world <= case.gpus else 0,
        nearest=others[0].text if others else "",
        settings=others[0].settings if others else {},
        alternatives=others,
        world=load.world,
    )


def _bounded(spec: ModelSpec, load: Load, usable: int) -> int:
    return min(formulas.max_concurrency(spec, load, usable), load.max_seqs)


def _survey(spec: ModelSpec, load_on: Callable[[GpuInfo | None], Load]) -> MemoryPlan:
    """Without a GPU: what is needed, and how many of each known GPU give it."""
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
        rows=formulas.rows(spec, load),
        concurrency=load.concurrency,
        length=load.length,
        fits=None,
        max_concurrency=0,
        nearest=nearest,
        needs=needs,
        world=load.world,
    )


def _gpus_needed(spec: ModelSpec, load: Load, gpu: GpuInfo) -> GpuNeed | None:
    """The least number of one kind of GPU on which it fits; None when not even MANY do."""
    for size in tensor_sizes(spec, MANY):
        if size < load.tensor:
            continue
        spread = replace(load, tensor=size)
        usable = gpu.memory_bytes * load.utilization
        if formulas.needed(spec, spread) <= usable:
            most = _bounded(spec, spread, int(usable))
            return GpuNeed(gpu.name, gpu.title, gpu.memory_bytes, spread.world, most)
    return None

"""Assemble the plan from what the chosen builder reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trtbuild import hardware
from trtbuild.builder import Builder, Case, Discovered
from trtbuild.checkpoint import Checkpoint
from trtbuild.errors import UnsupportedError, UsageError
from trtbuild.hardware import GpuTarget
from trtbuild.modelspec import ModelSpec
from trtbuild.plan import BuildPlan, Demand
from trtbuild.planner.choice import choose_builder
from trtbuild.planner.warnings import warnings
from trtbuild.recipe import ModelRecipe
from trtbuild.toolchain import Toolchain


def make_plan(
    spec: ModelSpec,
    model_recipe: ModelRecipe,
    toolchain: Toolchain,
    *,
    checkpoint: Checkpoint | None = None,
    gpu: str = "",
    gpus: int = 1,
    concurrency: int | None = None,
    length: int | None = None,
    builders: Sequence[Discovered] = (),
) -> BuildPlan:
    """Return the plan of one model. Reads only the shipped tables, not the network or the machine.

    Args:
        spec: The checkpoint.
        model_recipe: The model's recipe.
        toolchain: The Triton release.
        checkpoint: The opened checkpoint; builders read its small files.
        gpu: A GPU's name; empty for a table without a verdict.
        gpus: How many of them one server has.
        concurrency: Sequences at once; None: the builder's default.
        length: Tokens of each; None: the builder's default.
        builders: For tests; default: all installed builders.

    Raises:
        UsageError: An unknown GPU or builder, or a count below 1.
        RecipeError: A wrong engine argument.
        UnsupportedError: No builder supports it, or not on that GPU.
    """
    _check_counts(gpus=gpus, concurrency=concurrency, length=length)
    target = GpuTarget(hardware.gpu(gpu) if gpu else None, gpus)
    case = Case(spec, model_recipe, toolchain, target, checkpoint)
    builder, reason, rejected = choose_builder(case, builders)
    _require_able(builder, case)
    case = replace(case, recipe=builder.completed(case))
    needed = builder.artifacts(case)
    case = replace(case, artifacts={one.name: one.there for one in needed if one.there})
    return BuildPlan(
        model=model_recipe.name or spec.source.text,
        builder=builder.name,
        reason=reason,
        rejected=rejected,
        steps=tuple(builder.steps(case)),
        triton=toolchain.triton,
        image=builder.image(toolchain),
        memory=builder.memory(case, Demand(concurrency, length)),
        warnings=(*warnings(case), *builder.warnings(case)),
    )


def _check_counts(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UsageError(
                f"--{name} must be at least 1, got {count}", fix=f"use --{name} 1 or more"
            )


def _require_able(builder: Builder, case: Case) -> None:
    """Raise UnsupportedError if the target's GPU cannot run the model."""
    gpu = case.target.gpu
    reasons = tuple(builder.reasons_against_gpu(case)) if gpu else ()
    if gpu and reasons:
        raise UnsupportedError(
            f"{gpu.title} cannot run {case.spec.source.text}",
            where=case.spec.source.text,
            details=reasons,
            fix="choose another GPU (--gpu), another --backend, or a checkpoint in a number format "
            "that it runs",
        )

"""Opening a source and planning it, without writing anything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from trtbuild import hardware, toolchain
from trtbuild.builder import Case, discover
from trtbuild.checkpoint import Checkpoint, inspect, local_adapters
from trtbuild.errors import UsageError
from trtbuild.modelspec import ModelSpec
from trtbuild.pipeline.asked import open_source, require_taken
from trtbuild.plan import BuildPlan
from trtbuild.planner import Candidate, make_plan, survey
from trtbuild.progress import SILENT, Progress
from trtbuild.recipe import ModelRecipe


@dataclass(frozen=True, slots=True)
class Sizing:
    """The target GPUs of a plan and the load on them.

    ``gpu`` is a name of the table, ``auto`` for this machine's, empty for none.
    ``gpus`` is how many there are; None: one, or as many as this machine has under ``auto``.
    """

    gpu: str = ""
    gpus: int | None = None
    concurrency: int | None = None
    length: int | None = None


@dataclass(frozen=True, slots=True)
class PlannedModel:
    """A model with its plan."""

    recipe: ModelRecipe
    spec: ModelSpec
    plan: BuildPlan


def described(recipe: ModelRecipe, progress: Progress = SILENT) -> tuple[ModelRecipe, ModelSpec]:
    """Return the spec of a recipe's source, and the recipe with its name filled in."""
    recipe, spec, _ = _opened(recipe, progress)
    return recipe, spec


def _opened(recipe: ModelRecipe, progress: Progress) -> tuple[ModelRecipe, ModelSpec, Checkpoint]:
    checkpoint = open_source(recipe, progress)
    spec = inspect(checkpoint, trust_remote_code=recipe.trust_remote_code)
    if not recipe.name:
        recipe = recipe.model_copy(update={"name": checkpoint.default_name})
    return recipe, spec, checkpoint


def plan_model(
    recipe: ModelRecipe, *, triton: str, target: Sizing, progress: Progress = SILENT
) -> PlannedModel:
    """Plan one model.

    Raises:
        TrtbuildError: Opening, inspecting or planning it failed.
    """
    release = toolchain.load(triton)
    gpu, count = _resolved(target)
    recipe, spec, checkpoint = _opened(recipe, progress)
    plan = make_plan(
        spec,
        recipe,
        release,
        checkpoint=checkpoint,
        gpu=gpu,
        gpus=count,
        concurrency=target.concurrency,
        length=target.length,
    )
    builder = next(b.builder for b in discover() if b.name == plan.builder and b.builder)
    require_taken(builder, recipe)
    case = Case(spec, recipe, release, checkpoint=checkpoint)
    recipe = builder.completed(case)
    builder.require_adapters(replace(case, recipe=recipe), local_adapters(recipe.adapters))
    return PlannedModel(recipe, spec, plan)


def survey_builders(
    recipe: ModelRecipe, *, triton: str, progress: Progress = SILENT
) -> tuple[Candidate, ...]:
    """Return every builder's reasons against one source."""
    release = toolchain.load(triton)
    recipe, spec, checkpoint = _opened(recipe, progress)
    return survey(Case(spec, recipe, release, checkpoint=checkpoint))


def _resolved(target: Sizing) -> tuple[str, int]:
    if target.gpu != "auto":
        if target.gpu:
            hardware.gpu(target.gpu)  # a wrong name is reported before anything is downloaded
        return target.gpu, 1 if target.gpus is None else target.gpus
    found = hardware.detect()
    known = [gpu for gpu in found if gpu.info]
    if not known:
        seen = ", ".join(gpu.driver_name for gpu in found) or "none"
        raise UsageError(
            f"nvidia-smi lists no known GPU (it lists: {seen})",
            fix="name one, such as --gpu h100; an unknown name lists all of them",
        )
    name = known[0].name
    return name, target.gpus or sum(gpu.name == name for gpu in known)


def recipe_folder(path: Path, recipe: ModelRecipe) -> ModelRecipe:
    """Return ``recipe`` with relative directories resolved against the recipe file's."""

    def moved(source: str) -> str:
        beside = path.parent / source
        there = source and not Path(source).is_absolute() and beside.exists()
        return str(beside) if there else source

    llm = recipe.llm.model_copy(update={"engine_dir": moved(recipe.engine_dir)})
    return recipe.model_copy(update={"source": moved(recipe.source), "llm": llm})

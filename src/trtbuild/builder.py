"""The seam between the core and the builders: a Protocol and its discovery.

A builder is one module, one template folder and one line in the entry-point group
:data:`ENTRY_POINT_GROUP`. All its methods are pure, so each is tested without a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from trtbuild.modelspec import ModelSpec
from trtbuild.plan import EngineBuild, ModelEntry, Step
from trtbuild.recipe import ModelRecipe
from trtbuild.toolchain import Toolchain
from trtbuild_engine_flow.engineconfig import EngineConfig

ENTRY_POINT_GROUP = "trtbuild.builders.v1"


@runtime_checkable
class Builder(Protocol):
    """Turns a spec and a recipe into the directories of a model repository."""

    name: str
    summary: str
    priority: int
    """Among the builders without a reason against them the highest wins under ``auto``."""

    def reasons_unsupported(
        self, spec: ModelSpec, recipe: ModelRecipe, toolchain: Toolchain
    ) -> Sequence[str]:
        """All the reasons it cannot build this, each a sentence with its mend; empty if it can."""

    def image(self, toolchain: Toolchain) -> str:
        """The container image that serves what it builds."""

    def steps(self, spec: ModelSpec, recipe: ModelRecipe, toolchain: Toolchain) -> Sequence[Step]:
        """What will be done, in order."""

    def models(
        self, spec: ModelSpec, recipe: ModelRecipe, toolchain: Toolchain
    ) -> Sequence[ModelEntry]:
        """The directories to write. Raises RecipeError for a wrong engine argument."""

    def templates(self) -> Path:
        """The folder of what it renders or copies."""

    def server_args(self, recipe: ModelRecipe) -> Sequence[str]:
        """Arguments that ``tritonserver`` needs for these models."""


@runtime_checkable
class EngineBuilder(Builder, Protocol):
    """A builder whose models need an engine that is compiled on a GPU first.

    Its ``models`` are those of the engine that would be compiled.
    """

    def engine_build(
        self, spec: ModelSpec, recipe: ModelRecipe, toolchain: Toolchain
    ) -> EngineBuild:
        """How the engine is compiled. Raises RecipeError for a wrong setting."""

    def engine_expected(
        self, spec: ModelSpec, recipe: ModelRecipe, toolchain: Toolchain
    ) -> EngineConfig:
        """The engine that would be compiled, as far as a spec says it."""

    def models_of(
        self, spec: ModelSpec, recipe: ModelRecipe, toolchain: Toolchain, engine: EngineConfig
    ) -> Sequence[ModelEntry]:
        """The directories for an engine that is there, or will be.

        Raises RecipeError for a wrong setting, and for one that the engine was not built for.
        """


@runtime_checkable
class MemoryNames(Protocol):
    """A builder whose settings say what the planner's memory model needs by other names."""

    memory_names: Mapping[str, str]
    """The memory model's (vLLM's) name of a setting -> the builder's, dots for objects."""
    memory_defaults: Mapping[str, Any]
    """Values of the memory model where the recipe says nothing."""


@runtime_checkable
class Preferring(Protocol):
    """A builder that suits some checkpoints better than its ``priority`` says."""

    def preference(self, spec: ModelSpec, gpu_sm: int) -> int:
        """Its priority for this checkpoint on a GPU of that compute capability; 0: unknown."""


@runtime_checkable
class Warner(Protocol):
    """A builder that knows what will work worse than a user may think."""

    def warnings(self, spec: ModelSpec, recipe: ModelRecipe, toolchain: Toolchain) -> Sequence[str]:
        """Sentences for a reader; nothing stops for them."""


@dataclass(frozen=True, slots=True)
class Discovered:
    """An entry point, with its builder or the reason it could not be loaded."""

    name: str
    distribution: str
    builder: Builder | None
    problem: str = ""


def discover() -> tuple[Discovered, ...]:
    """Every builder installed, first-party or not, by name; a broken one carries its problem."""
    found = sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name)
    return tuple(_load(point) for point in found)


def _load(point: EntryPoint) -> Discovered:
    distribution = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown"
    try:
        builder = point.load()
    except Exception as error:  # a third party's plug-in may raise anything
        return Discovered(point.name, distribution, None, f"{type(error).__name__}: {error}")
    if not isinstance(builder, Builder):
        return Discovered(point.name, distribution, None, f"{point.value} is not a Builder")
    return Discovered(point.name, distribution, builder)

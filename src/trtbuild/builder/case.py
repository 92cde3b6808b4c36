"""What a builder is given: one value, so that a new fact changes no builder's methods."""

from __future__ import annotations

from dataclasses import dataclass, field

from trtbuild.hardware import GpuTarget
from trtbuild.modelspec import ModelSpec
from trtbuild.recipe import ModelRecipe
from trtbuild.toolchain import Toolchain


@dataclass(frozen=True, slots=True)
class Case:
    """One model to build.

    Attributes:
        spec: The checkpoint.
        recipe: What the user asks for.
        toolchain: The Triton release that will serve it.
        target: The GPUs that it is to run on, as far as they are known.
    """

    spec: ModelSpec
    recipe: ModelRecipe
    toolchain: Toolchain
    target: GpuTarget = field(default_factory=GpuTarget)

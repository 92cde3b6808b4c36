"""What a builder is given: one value, so that a new fact changes no builder's methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trtbuild.builder.artifacts import MadeArtifact
from trtbuild.checkpoint import Checkpoint
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
        checkpoint: The opened checkpoint: its configuration, its small files as they will be
            placed, the headers of its tensors. None where only the spec is known.
        artifacts: The artifacts of the builder that are there, by name.
    """

    spec: ModelSpec
    recipe: ModelRecipe
    toolchain: Toolchain
    target: GpuTarget = field(default_factory=GpuTarget)
    checkpoint: Checkpoint | None = None
    artifacts: Mapping[str, MadeArtifact] = field(default_factory=dict)

"""What a recipe asks for: its checkpoint, and settings that its builder must support."""

from __future__ import annotations

from trtbuild.builder import Builder, discover
from trtbuild.checkpoint import Checkpoint, open_checkpoint
from trtbuild.errors import UsageError
from trtbuild.progress import Progress
from trtbuild.recipe import ModelRecipe

ASKED = ("engine", "weights", "engine_dir", "build", "adapters", "contract")
"""Keys of a recipe that only some builders read, and that nobody may ignore."""


def open_source(recipe: ModelRecipe, progress: Progress) -> Checkpoint:
    """Return the checkpoint of a recipe; see :func:`~trtbuild.checkpoint.open_checkpoint`."""
    return open_checkpoint(
        recipe.source,
        dtype=recipe.dtype,
        allow_pickle=recipe.allow_pickle,
        trust_remote_code=recipe.trust_remote_code,
        progress=progress,
    )


def require_taken(builder: Builder, recipe: ModelRecipe) -> None:
    """Raise UsageError if the recipe has a setting that ``builder`` would ignore."""
    asked = {
        "engine": ("--set", bool(recipe.engine)),
        "weights": ("--weights hub", recipe.weights == "hub"),
        "engine_dir": ("--engine", bool(recipe.engine_dir)),
        "build": ("--no-build", not recipe.build),
        "contract": ("--contract", bool(recipe.contract)),
        "adapters": ("--adapter", bool(recipe.adapters)),
    }
    for name, (flag, given) in asked.items():
        if not given or name in builder.takes:
            continue
        others = [b.name for one in discover() if (b := one.builder) and name in b.takes]
        instead = f", or choose a builder that has it: --backend {others[0]}" if others else ""
        if name == "contract":  # a builder without it generates text
            instead = ": it is for embedding models"
        raise UsageError(
            f"the builder {builder.name} has no {flag}", fix=f"leave out {flag}{instead}"
        )

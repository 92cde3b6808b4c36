"""Conversions as tests ask for them."""

from __future__ import annotations

from pathlib import Path

from trtbuild.pipeline.convert import ConvertResult, convert
from trtbuild.recipe import ModelRecipe


def run(source: object, repo: Path, *, force: bool = False, **recipe: object) -> ConvertResult:
    """Convert ``source``, with further fields of its recipe."""
    model = ModelRecipe.model_validate({"source": str(source), **recipe})
    return convert(model, repository=repo, force=force)

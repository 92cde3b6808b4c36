"""``--file``: the recipe of a command that could also be told by flags."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trtbuild.recipe import Recipe


def read_recipe(file: Path, flags: Mapping[str, object], triton: str) -> Recipe:
    """The recipe of ``file``, its relative paths meant from where it lies.

    Args:
        file: The recipe.
        flags: What would belong into it, by flag; a true value was given on the command line.
        triton: The release to take instead of the recipe's; empty for that.

    Raises:
        UsageError: A flag was given beside the file, or there is no such release.
        RecipeError: The file is no recipe.
    """
    from trtbuild import toolchain
    from trtbuild.errors import UsageError
    from trtbuild.pipeline.planning import recipe_folder
    from trtbuild.recipe import load

    given = [flag for flag, value in flags.items() if value]
    if given:
        raise UsageError(
            f"{', '.join(given)} cannot be combined with --file",
            fix=f"say it in {file.name}, for the model that it is meant for",
        )
    recipe = load(file)
    if triton:
        toolchain.load(triton)
    models = tuple(recipe_folder(file, model) for model in recipe.models)
    return recipe.model_copy(update={"models": models, "triton": triton or recipe.triton})

"""The recipe of a command: from ``--file``, or from flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtbuild.cli import options
from trtbuild.cli.fields import option

if TYPE_CHECKING:
    from trtbuild.recipe import Recipe


_FLAGS = {
    "source": "SOURCE",
    "name": "--name",
    "settings": "--set",
    "dtype": "--dtype",
    "adapters": "--adapter",
    "trust_remote_code": "--trust-remote-code",
    "allow_pickle": "--allow-pickle",
    "backend": "--backend",
    "quantize": "--quantize",
    "accelerator": "--accelerator",
    "weights": "--weights",
    "engine_dir": "--engine",
    "build": "--no-build",
    "contract": "--contract",
}
_DEFAULTS = {"backend": "auto", "weights": "copy", "build": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFlags:
    """The flags that describe any model."""

    source: options.Source
    name: options.Name = ""
    backend: options.Backend = "auto"
    triton: options.Triton = ""
    settings: options.Settings = None
    dtype: options.Dtype = ""
    trust_remote_code: options.TrustRemoteCode = False
    allow_pickle: options.AllowPickle = False

    def model(self) -> dict[str, Any]:
        """What :func:`trtbuild.recipe.model_from_flags` takes."""
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        return {
            name: () if value is None else value
            for name, value in given.items()
            if name not in ("file", "triton")
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFlags(CheckpointFlags):
    """A recipe, or the flags that describe a model of a repository."""

    source: options.Source = ""
    file: Path | None = option(
        None, "Take every model of this recipe instead of SOURCE.", flag="--file", short="-f"
    )
    quantize: options.Quantize = ""
    accelerator: options.Accelerator = ""
    weights: options.Weights = "copy"
    adapters: options.Adapters = None
    engine_dir: options.EngineDir = ""


def asked_recipe(flags: ModelFlags, **more: Any) -> Recipe:
    """The recipe of ``--file``, or one with the model that the flags describe.

    Args:
        flags: What was given.
        more: What else ``model_from_flags`` takes.

    Raises:
        UsageError: A flag was given beside the file, or there is no such release.
        RecipeError: The file is not a recipe.
    """
    from trtbuild import toolchain
    from trtbuild.recipe import DEFAULT_REPOSITORY, DEFAULT_TRITON, Recipe, model_from_flags

    model = flags.model() | more
    if flags.file is not None:
        given = {
            _FLAGS[field]: value != _DEFAULTS[field] if field in _DEFAULTS else value
            for field, value in model.items()
        }
        return read_recipe(flags.file, given, flags.triton)
    described = model_from_flags(**model)
    release = flags.triton or DEFAULT_TRITON
    toolchain.load(release)  # its error for an unknown one is clearer than pydantic's
    return Recipe(version=1, triton=release, repository=DEFAULT_REPOSITORY, models=(described,))


def read_recipe(file: Path, flags: Mapping[str, object], triton: str) -> Recipe:
    """The recipe of ``file``, its relative paths meant from where it lies.

    Args:
        file: The recipe.
        flags: What would belong into it, by flag; a true value was given on the command line.
        triton: The release to take instead of the recipe's; empty for that.

    Raises:
        UsageError: A flag was given beside the file, or there is no such release.
        RecipeError: The file is not a recipe.
    """
    from trtbuild import toolchain
    from trtbuild.errors import UsageError
    from trtbuild.pipeline.planning import recipe_folder
    from trtbuild.recipe import load

    given = [flag for flag, value in flags.items() if value]
    if given:
        raise UsageError(
            f"{', '.join(given)} cannot be combined with --file",
            fix=f"set it in {file.name}, under the model it applies to",
        )
    recipe = load(file)
    if triton:
        toolchain.load(triton)
    models = tuple(recipe_folder(file, model) for model in recipe.models)
    return recipe.model_copy(update={"models": models, "triton": triton or recipe.triton})

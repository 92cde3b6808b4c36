"""Reading ``trtbuild.yaml``: every problem at once, each with its line and a fix."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from trtbuild import toolchain
from trtbuild.located import yamltext
from trtbuild.recipe.documents import (
    Place,
    Problems,
    mapping,
    near,
    read_text,
    refusal,
    validated,
)
from trtbuild.recipe.jobs import JobRecipe, Jobs
from trtbuild.recipe.model import LlmSettings, ModelRecipe, Recipe
from trtbuild.recipe.names import RECIPE_NAME
from trtbuild.recipe.validation import Validation

_FIX = "correct the recipe ('trtbuild schema' prints every key and its type)"


def load(path: Path) -> Recipe:
    """The recipe at ``path``.

    Raises:
        RecipeError: It is missing, not UTF-8, not YAML, or says something that cannot be.
    """
    return parse(_read(path), where=str(path))


def load_validation(path: Path) -> Validation:
    """The ``validate`` section of the file at ``path``, the defaults when it has none. The rest of
    the file is not looked at. Raises as :func:`load`."""
    where = str(path)
    data, node = _document(_read(path), where)
    problems: Problems = []
    found = validated(Validation, data.get("validate", {}), node, problems, ["validate"])
    if found is None:
        raise refusal(problems, where, "recipe", _FIX)
    return found


def load_jobs(path: Path) -> dict[str, JobRecipe]:
    """The jobs of the file at ``path``; none when it has no such section. The rest of the file is
    not looked at. Raises as :func:`load`."""
    where = str(path)
    data, node = _document(_read(path), where)
    problems: Problems = [
        (line, f"the key {key!r} is given twice") for key, line in yamltext.repeated_keys(node)
    ]
    found = validated(Jobs, {"jobs": data.get("jobs", {})}, node, problems)
    if problems or found is None:
        raise refusal(problems, where, "recipe", _FIX)
    return found.jobs


def _read(path: Path) -> str:
    fix = f"write it ('trtbuild schema' prints the schema), or name one: -f {RECIPE_NAME}"
    return read_text(path, "recipe", fix)


def parse(text: str, *, where: str = RECIPE_NAME) -> Recipe:
    """The recipe in ``text``; ``where`` is the file's name in messages."""
    data, node = _document(text, where)
    problems = [
        (line, f"the key {key!r} is given twice") for key, line in yamltext.repeated_keys(node)
    ]
    written = partial(_as_written, data=data)
    recipe = validated(Recipe, data, node, problems, written=written, nearest=_nearest)
    if recipe is not None:
        problems += _beyond_shape(recipe, node)
    if problems or recipe is None:
        raise refusal(problems, where, "recipe", _FIX)
    return recipe


def _document(text: str, where: str) -> tuple[dict[Any, Any], yaml.Node]:
    releases = (("triton",), ("validate", "triton"))
    return mapping(text, where, "recipe", "models:", as_text=releases)


def _as_written(path: Place, data: Any) -> Place:
    """``path`` without ``llm`` where a key of that section stands in its older place."""
    if "llm" not in path:
        return path
    at = path.index("llm")
    owner = data
    for part in path[:at]:
        owner = owner[part]
    section = owner.get("llm") if isinstance(owner, dict) else None
    inside = len(path) == at + 1 or (isinstance(section, dict) and path[at + 1] in section)
    return path if inside else [*path[:at], *path[at + 1 :]]


def _nearest(path: Place) -> str:
    owner: type[BaseModel] = ModelRecipe if path[:-1] else Recipe
    if path[0] == "validate":
        owner = Validation
    elif path[0] == "jobs":
        owner = JobRecipe
    elif "llm" in path[:-1]:
        owner = LlmSettings
    names = [field.alias or name for name, field in owner.model_fields.items()]
    known = dict(zip(names, names, strict=True))
    if owner is ModelRecipe:
        known |= {key: f"llm.{key}" for key in LlmSettings.model_fields}
    return near(path[-1], known)


def _beyond_shape(recipe: Recipe, node: yaml.Node) -> Problems:
    """What the types cannot say: a known release, one name a model."""
    problems: Problems = []
    known = [row.triton for row in toolchain.releases()]
    if recipe.triton not in known:
        line = yamltext.line_of(node, ["triton"])
        problems.append((line, f"unknown Triton release {recipe.triton!r}: use {', '.join(known)}"))
    seen: dict[str, int] = {}
    for index, model in enumerate(recipe.models):
        key = model.name or f"the default name of {model.source!r}"
        line = yamltext.line_of(node, ["models", index, "name" if model.name else "source"])
        if key in seen:
            problems.append((line, f"two models are named {key}: the other is on line {seen[key]}"))
        seen.setdefault(key, line)
    return problems

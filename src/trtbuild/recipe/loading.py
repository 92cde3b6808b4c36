"""Reading ``trtbuild.yaml``: every problem at once, each with its line and a fix."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from trtbuild import toolchain
from trtbuild.errors import RecipeError
from trtbuild.located import yamltext
from trtbuild.recipe.model import LlmSettings, ModelRecipe, Recipe
from trtbuild.recipe.names import RECIPE_NAME
from trtbuild.recipe.validation import Validation

_Shape = TypeVar("_Shape", bound=BaseModel)


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
    problems: list[tuple[int, str]] = []
    found = _validated(Validation, data.get("validate", {}), node, problems, ["validate"])
    if found is None:
        raise _error(problems, where)
    return found


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise RecipeError(
            f"the recipe {path.name!r} does not exist",
            where=str(path),
            fix=f"write it ('trtbuild schema' prints the schema), or name one: -f {RECIPE_NAME}",
        ) from None
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise RecipeError(
            f"the recipe is not UTF-8 text: byte {error.start} is 0x{byte:02x}",
            where=str(path),
            fix="save it as UTF-8",
        ) from None
    except OSError as error:
        raise RecipeError(
            f"the recipe cannot be read: {error.strerror}",
            where=str(path),
            fix="name a readable file",
        ) from None


def parse(text: str, *, where: str = RECIPE_NAME) -> Recipe:
    """The recipe in ``text``; ``where`` is the file's name in messages."""
    data, node = _document(text, where)
    problems = [
        (line, f"the key {key!r} is given twice") for key, line in yamltext.repeated_keys(node)
    ]
    recipe = _validated(Recipe, data, node, problems)
    if recipe is not None:
        problems += _beyond_shape(recipe, node)
    if problems or recipe is None:
        raise _error(problems, where)
    return recipe


def _document(text: str, where: str) -> tuple[dict[Any, Any], yaml.Node]:
    try:
        node = yamltext.compose(text)
        if node is None:
            raise RecipeError("the recipe is empty", where=where, fix="give at least 'models:'")
        yamltext.keep_as_text(node, "triton")
        yamltext.keep_as_text(node, "triton", within="validate")
        data = yamltext.construct(node)
    except yaml.YAMLError as error:
        raise _not_yaml(error, where) from None
    if not isinstance(data, dict):
        raise RecipeError(
            f"the recipe is a {_kind(data)}, not a mapping of keys",
            where=where,
            fix="start it with 'models:' and a list of models",
        )
    return data, node


def _not_yaml(error: yaml.YAMLError, where: str) -> RecipeError:
    mark = getattr(error, "problem_mark", None)
    at = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return RecipeError(f"the recipe is not YAML: {problem}", where=at, fix="correct the YAML there")


def _validated(
    shape: type[_Shape],
    data: Any,
    node: yaml.Node,
    problems: list[tuple[int, str]],
    at: Sequence[str] = (),
) -> _Shape | None:
    # JSON mode, strictly: lists become tuples, but "yes" does not become true nor 5 a name.
    text = json.dumps(data, default=str, skipkeys=False)
    try:
        return shape.model_validate_json(text, strict=True)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            if item["type"] == "too_short" and item["input"]:
                continue  # the list only lost the members that are reported themselves
            path = _as_written([*at, *(part for part in item["loc"] if part != "[key]")], data)
            problems.append((yamltext.line_of(node, path), _sentence(item, path)))
        return None


def _as_written(path: list[str | int], data: Any) -> list[str | int]:
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


def _sentence(item: Any, path: list[str | int]) -> str:
    """What pydantic found, said to somebody who edits YAML."""
    name = repr(_dotted(path))
    kind, context = item["type"], item.get("ctx", {})
    wanted = str(item["msg"]).removeprefix("Input should be ")
    sentences = {
        "extra_forbidden": lambda: f"unknown key {name}{_nearest(path)}",
        "missing": lambda: f"{name} is missing",
        "too_short": lambda: f"{name} is an empty list: give at least one",
        "string_too_short": lambda: f"{name} is empty",
        "literal_error": lambda: f"{name} must be {context['expected']}, not {item['input']!r}",
        "value_error": lambda: str(context["error"]),
        "string_pattern_mismatch": lambda: f"{name} must look like YY.MM, not {item['input']!r}",
    }
    if kind in sentences:
        return sentences[kind]()
    return f"{name} must be {wanted}, not {_kind(item['input'])} {item['input']!r}"


def _dotted(path: list[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _nearest(path: list[str | int]) -> str:
    owner: type[BaseModel] = ModelRecipe if path[:-1] else Recipe
    if path[0] == "validate":
        owner = Validation
    elif "llm" in path[:-1]:
        owner = LlmSettings
    names = [field.alias or name for name, field in owner.model_fields.items()]
    known = dict(zip(names, names, strict=True))
    if owner is ModelRecipe:
        known |= {key: f"llm.{key}" for key in LlmSettings.model_fields}
    close = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.6)
    if close:
        return f": did you mean {known[close[0]]!r}?"
    return f": known keys are {', '.join(known.values())}"


def _beyond_shape(recipe: Recipe, node: yaml.Node) -> list[tuple[int, str]]:
    """What the types cannot say: a known release, one name a model."""
    problems: list[tuple[int, str]] = []
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


def _error(problems: list[tuple[int, str]], where: str) -> RecipeError:
    problems = sorted(set(problems))
    fix = "correct the recipe ('trtbuild schema' prints every key and its type)"
    if len(problems) == 1:
        line, text = problems[0]
        return RecipeError(text, where=f"{where}:{line}", fix=fix)
    details = tuple(f"{where}:{line}: {text}" for line, text in problems)
    return RecipeError(
        f"the recipe has {len(problems)} problems", where=where, fix=fix, details=details
    )


def _kind(value: object) -> str:
    """A value's type in YAML's words."""
    names = {
        dict: "mapping",
        list: "list",
        str: "text",
        bool: "boolean",
        int: "number",
        float: "number",
        type(None): "null",
    }
    return names.get(type(value), type(value).__name__)

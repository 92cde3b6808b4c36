"""Reading ``deploy.yaml``: every problem at once, each with its line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from trtbuild.errors import RecipeError
from trtbuild.located import yamltext
from trtbuild.recipe.documents import Problems, mapping, read_text, refusal, validated
from trtbuild_deploy.settings.model import SETTINGS_NAME, Settings

_FIX = "correct the file ('trtbuild deploy schema' prints every key and its type)"
_WHAT = "deployment file"


def load_settings(path: Path | None) -> Settings:
    """The settings at ``path``; None: the defaults.

    Raises:
        RecipeError: It is missing, not YAML, or says something that cannot be.
    """
    if path is None:
        return Settings()
    fix = f"write it ('trtbuild deploy schema' prints every key), or leave -f {path} out"
    return parse_settings(read_text(path, _WHAT, fix), where=str(path))


def parse_settings(text: str, *, where: str = SETTINGS_NAME) -> Settings:
    """The settings in ``text``; ``where`` is the file's name in messages."""
    data, node = mapping(text, where, _WHAT, "name:")
    problems: Problems = [
        (line, f"the key {key!r} is given twice") for key, line in yamltext.repeated_keys(node)
    ]
    settings = validated(Settings, data, node, problems)
    if settings is not None:
        problems += _of_environments(settings, data, node)
    if problems or settings is None:
        raise refusal(problems, where, _WHAT, _FIX)
    return settings


def _of_environments(settings: Settings, data: Mapping[str, Any], node: yaml.Node) -> Problems:
    problems: Problems = []
    for name, changes in settings.environments.items():
        at = ["environments", name]
        if "environments" in changes:
            line = yamltext.line_of(node, [*at, "environments"])
            problems.append((line, f"'environments.{name}.environments': they cannot be nested"))
            continue
        validated(Settings, merged(data, changes), node, problems, at)
    return problems


def with_environment(
    settings: Settings, name: str, extra: Mapping[str, Any], over: Mapping[str, Any] | None = None
) -> Settings:
    """The settings of an environment: ``extra`` is its default, under what the file says, and
    ``over`` what it is for, which only the file's section about it can change.

    Raises:
        RecipeError: The two do not fit together.
    """
    base = settings.model_dump(by_alias=True, exclude_unset=True, mode="json")
    own = base.pop("environments", {}).get(name, {})
    changed = merged(merged(merged(extra, base), over or {}), own)
    try:
        return Settings.model_validate_json(json.dumps(changed))
    except ValidationError as error:
        raise RecipeError(
            f"the environment {name!r} cannot be: {error.errors()[0]['msg']}",
            where=f"environments.{name}",
            fix=_FIX,
        ) from None


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes``: sections are merged, everything else is replaced."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result

"""``--set key=value``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from trtbuild.errors import RecipeError
from trtbuild.located import yamltext


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """``["a=1", "b.c=x"]`` as ``{"a": 1, "b": {"c": "x"}}``.

    Values are JSON, else YAML scalars; of one key given twice the last counts.

    Raises:
        RecipeError: No ``=``, an empty key, a value that is not YAML, or a key that is both a
            value and an object; all of them at once.
    """
    result: dict[str, Any] = {}
    problems: list[str] = []
    for setting in settings:
        key, equals, text = setting.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            problems.append(f"--set {setting!r} is not of the form key=value")
            continue
        try:
            value = _value(text)
        except yaml.YAMLError as error:
            first = str(getattr(error, "problem", None) or error).splitlines()[0]
            problems.append(f"the value of --set {setting!r} is not YAML: {first}")
            continue
        if not _put(result, parts, value):
            problems.append(f"--set {setting!r} sets a key below a plain value")
    raise_problems(problems, "--set", "write --set key=value, for example --set max_model_len=4096")
    return result


def _value(text: str) -> Any:
    if not text.strip():
        return ""
    try:
        return json.loads(text)  # also reads 1e-5, which YAML 1.1 takes for text
    except ValueError:
        return yamltext.scalar(text)


def _put(target: dict[str, Any], parts: list[str], value: Any) -> bool:
    for part in parts[:-1]:
        target = target.setdefault(part, {})
        if not isinstance(target, dict):
            return False
    target[parts[-1]] = value
    return True


def merge_settings(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``over`` on top; objects are merged key by key, the rest replaced."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = merge_settings(below, value) if both else value  # type: ignore[arg-type]
    return merged


def raise_problems(problems: Sequence[str], where: str, fix: str) -> None:
    """Raise RecipeError with every problem; none, and nothing happens."""
    if len(problems) == 1:
        raise RecipeError(problems[0], where=where, fix=fix)
    if problems:
        what = f"{len(problems)} settings are wrong"
        raise RecipeError(what, where=where, fix=fix, details=tuple(problems))

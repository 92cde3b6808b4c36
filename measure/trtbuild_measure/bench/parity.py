"""Whether two results of earlier runs may be compared: every reason why not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trtbuild_measure.bench.comparison import find_load
from trtbuild_measure.bench.guards import LENGTHS, Objection
from trtbuild_measure.bench.model import Json

KINDS = ("tokenizer", "prompts", "sampling", "precision", "lengths", "echo")
"""What ``bench compare --allow`` may name."""


def differences(before: Json, after: Json) -> list[Objection]:
    """Return the differences for targets and loads that are in both results.

    Only settings recorded in both results are compared.
    """
    found = [*_settings(before, after)]
    known = {target["name"]: target for target in after["targets"]}
    for target in before["targets"]:
        other = known.get(target["name"])
        if other is not None:
            found += _targets(target, other)
    return found


def _settings(before: Json, after: Json) -> Iterator[Objection]:
    one, other = before["environment"].get("tokenizer"), after["environment"].get("tokenizer")
    if one and other and one != other:
        yield Objection("tokenizer", "tokens were counted by different tokenizers")
    files = before["environment"].get("prompts"), after["environment"].get("prompts")
    if all(files) and files[0] != files[1]:
        yield Objection("prompts", "the prompts were those of files that are not the same")
    for key, kind in (("prompts", "prompts"), ("endpoint", "prompts"), ("generation", "sampling")):
        one, other = (settings.get(key) for settings in (before["settings"], after["settings"]))
        if key == "prompts" and all(files):
            one, other = (_elsewhere(settings) for settings in (one, other))
        if one != other:
            yield Objection(kind, f"the {key} differs: {_apart(one, other)}")


def _elsewhere(prompts: Json) -> Json:
    """Return the settings without the paths of files whose contents are compared."""
    return {name: value for name, value in prompts.items() if name not in ("file", "trace")}


def _apart(first: Any, second: Any) -> str:
    """Return the differences of two settings, by member if they have members."""
    if not isinstance(first, dict) or not isinstance(second, dict):
        return f"{first} and {second}"
    names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    return ", ".join(f"{name} {first.get(name)} and {second.get(name)}" for name in names)


def _targets(first: Json, second: Json) -> Iterator[Objection]:
    name = first["name"]
    precisions = first.get("precision"), second.get("precision")
    if all(precisions) and len(set(precisions)) > 1:
        yield Objection("precision", f"{name} computes in {precisions[0]} and {precisions[1]}")
    for load in first["loads"]:
        match = find_load(second, load["load"]["label"])
        if match is not None:
            yield from _loads(f"{name}, {load['load']['label']}", load, match)


def _loads(where: str, first: Json, second: Json) -> Iterator[Objection]:
    echoes = [bool(load.get("tokens", {}).get("echoes")) for load in (first, second)]
    if echoes[0] != echoes[1]:
        yield Objection("echo", f"{where}: the prompt is echoed {'first' if echoes[0] else 'then'}")
    low, high = sorted((_length(first), _length(second)))
    if low and high > low * (1 + LENGTHS):
        means = f"{_length(first):.1f} and {_length(second):.1f}"
        yield Objection("lengths", f"{where}: answers have {means} tokens")


def _length(load: Json) -> float:
    ok, output = load["requests"]["ok"], load.get("tokens", {}).get("output", 0)
    return float(output / ok) if ok else 0.0

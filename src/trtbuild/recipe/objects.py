"""The check of an engine's arguments, objects inside objects included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trtbuild.recipe.arguments import engine_problems
from trtbuild.toolchain import ArgumentGroup, Arguments, EngineArgument

Finding = tuple[str, str]
"""The dotted name of an argument, and what is wrong with it."""


def argument_problems(settings: Mapping[str, Any], table: Arguments) -> tuple[str, ...]:
    """What is wrong with arguments of an engine, one sentence each with the dotted name."""
    return tuple(said for _, said in argument_findings(settings, table))


def argument_findings(settings: Mapping[str, Any], table: Arguments) -> Iterator[Finding]:
    """The same, each sentence after the dotted name that it is about."""
    yield from _each("", settings, table.arguments)
    for name, value in settings.items():
        yield from _group(name, value, table)


def object_problems(
    path: str, value: object, fields: Mapping[str, EngineArgument]
) -> tuple[str, ...]:
    """What is wrong inside the object ``value`` that stands at ``path``."""
    if not isinstance(value, Mapping):
        return (f"'{path}' must be an object",)
    return tuple(said for _, said in _each(f"{path}.", value, fields))


def _each(
    prefix: str, values: Mapping[str, Any], fields: Mapping[str, EngineArgument]
) -> Iterator[Finding]:
    known = {f"{prefix}{name}": row for name, row in fields.items()}
    for name, item in values.items():
        path = f"{prefix}{name}"
        yield from ((path, said) for said in engine_problems({path: item}, known))


def _group(path: str, value: object, table: Arguments) -> Iterator[Finding]:
    """Inside an argument that is an object, at any depth."""
    group = table.groups.get(path)
    if group is None or not isinstance(value, Mapping):
        return  # no object of known fields; that it is none at all is reported one level up
    said = value.get(group.selector) if group.selector else ""
    kind = str(said)
    if kind in group.refused:
        where = f"{path}.{group.selector}"
        yield where, f"'{where}' cannot be {kind}: {group.refused[kind]}"
        return
    if kind not in group.variants:
        known = ", ".join(one for one in group.variants if one not in group.refused)
        where = f"{path}.{group.selector}"
        yield where, f"'{where}' must be one of {known}, not {said!r}"
        return
    fields = {name: item for name, item in value.items() if name != group.selector}
    yield from _each(f"{path}.", fields, group.variants[kind])
    yield from _missing(path, kind, fields, group)
    for name, item in fields.items():
        yield from _group(f"{path}.{name}", item, table)


def _missing(
    path: str, kind: str, values: Mapping[str, Any], group: ArgumentGroup
) -> Iterator[Finding]:
    """Fields that the object cannot do without."""
    what = f"'{path}'" + (f" of kind {kind}" if kind else "")
    for name, row in group.variants[kind].items():
        if row.required and values.get(name) is None:
            yield path, f"{what} needs {name!r}"
    names = group.one_of.get(kind, ())
    if names and not any(values.get(name) for name in names):
        yield path, f"{what} needs {' or '.join(map(repr, names))}"

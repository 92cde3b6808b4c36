"""Add what TensorRT-LLM's classes check in code (``data/trtllm_llm_checks.toml``) to a table."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from packaging.version import Version

from trtbuild.resources import data_file
from trtbuild.toolchain.arguments import ArgumentGroup


@cache
def _checks() -> Mapping[str, Any]:
    return tomllib.loads(data_file("trtllm_llm_checks.toml").read_text(encoding="utf-8"))


def checked(table: dict[str, Any]) -> dict[str, Any]:
    """Return a release's table with these checks added to its arguments."""
    key = Version(table["trtllm"])
    for row in _checks()["field"]:
        if key < Version(row.get("since", "0")):
            continue
        more = {name: value for name, value in row.items() if name not in ("path", "since")}
        for found in _rows(table, row["path"]):
            found.update(more)
    return table


def _rows(table: dict[str, Any], path: str) -> Iterator[dict[str, Any]]:
    """Return the rows at ``field``, ``group.field`` or ``group.KIND.field`` (``*``: all kinds)."""
    owner, _, name = path.rpartition(".")
    if not owner:
        yield from (table["arguments"][name],) if name in table["arguments"] else ()
        return
    kinds = table["groups"].get(owner, {}).get("variants")
    if kinds is None:
        owner, _, kind = owner.rpartition(".")
        found = table["groups"].get(owner, {}).get("variants", {})
        kinds = {one: fields for one, fields in found.items() if kind in ("*", one)}
    yield from (fields[name] for fields in kinds.values() if name in fields)


def with_kinds(groups: Mapping[str, ArgumentGroup]) -> Mapping[str, ArgumentGroup]:
    """Return the groups with the kinds that cannot be requested, and their required fields."""
    made = dict(groups)
    for row in _checks()["kind"]:
        if group := made.get(row["path"]):
            made[row["path"]] = replace(
                group, refused={**group.refused, row["kind"]: row["refused"]}
            )
    for row in _checks()["one_of"]:
        if group := made.get(row["path"]):
            kind = group.variants.get(row["kind"], {})
            fields = tuple(name for name in row["fields"] if name in kind)
            made[row["path"]] = replace(group, one_of={**group.one_of, row["kind"]: fields})
    return made


def together() -> tuple[tuple[str, str, str], ...]:
    """Return settings that require a value of another one."""
    return tuple((row["path"], row["needs"], row["value"]) for row in _checks()["together"])


def architectures_of(table: Mapping[str, Any]) -> frozenset[str]:
    """Return a release's architectures: those documented, corrected by what the code registers."""
    names, key = set(table["architectures"]), Version(table["trtllm"])
    for row in _checks()["architecture"]:
        if key >= Version(row["since"]):
            names.add(row["name"])
        else:
            names.discard(row["name"])
    return frozenset(names)

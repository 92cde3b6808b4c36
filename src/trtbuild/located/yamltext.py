"""YAML with positions, and without YAML 1.1's surprises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml


class Loader(yaml.SafeLoader):
    """Safe YAML in which ``2024-01-01`` stays text: nothing here takes a date."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag != "tag:yaml.org,2002:timestamp"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

Path = Sequence[str | int]


def compose(text: str) -> yaml.Node | None:
    """The node tree of one document; raises yaml.YAMLError."""
    node: yaml.Node | None = yaml.compose(text, Loader=Loader)
    return node


def construct(node: yaml.Node) -> Any:
    """The value of a node tree; raises yaml.YAMLError."""
    loader = Loader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def scalar(text: str) -> Any:
    """One value as YAML reads it; raises yaml.YAMLError."""
    return yaml.load(text, Loader=Loader)  # noqa: S506 - a SafeLoader


def keep_as_text(node: yaml.Node | None, key: str, *, within: str = "") -> None:
    """Read the value of a top-level ``key`` (or of one ``within`` another) as written: ``26.10`` is
    a release, not 26.1."""
    if within:
        found = _child(node, within)
        node = found[1] if found else None
    if not isinstance(node, yaml.MappingNode):
        return
    for name, value in node.value:
        number = value.tag in {"tag:yaml.org,2002:float", "tag:yaml.org,2002:int"}
        if name.value == key and isinstance(value, yaml.ScalarNode) and number:
            value.tag = "tag:yaml.org,2002:str"


def line_of(node: yaml.Node | None, path: Path) -> int:
    """The line (from 1) of ``path``; that of the nearest parent when the path ends early."""
    line = 1
    for part in path:
        found = _child(node, part)
        if found is None:
            break
        mark, node = found
        line = mark
    return line


def _child(node: yaml.Node | None, part: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        child = node.value[part]
        return child.start_mark.line + 1, child
    return None


def repeated_keys(node: yaml.Node | None) -> list[tuple[str, int]]:
    """Keys given twice in one mapping, with the line of the second: YAML keeps only the last."""
    if isinstance(node, yaml.SequenceNode):
        return [found for child in node.value for found in repeated_keys(child)]
    if not isinstance(node, yaml.MappingNode):
        return []
    found: list[tuple[str, int]] = []
    seen: set[str] = set()
    for key, value in node.value:
        if str(key.value) in seen:
            found.append((str(key.value), key.start_mark.line + 1))
        seen.add(str(key.value))
        found.extend(repeated_keys(value))
    return found

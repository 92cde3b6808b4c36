"""YAML with positions, without YAML 1.1's implicit dates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from trtbuild.located import text
from trtbuild.located.positions import Position


class Loader(yaml.SafeLoader):
    """Safe YAML in which ``2024-01-01`` stays text: no setting is a date."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag != "tag:yaml.org,2002:timestamp"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

Path = Sequence[str | int]


_MAX_VALUES = 100_000


def compose(document: str) -> yaml.Node | None:
    """Return the node tree of one document; raises yaml.YAMLError.

    Aliases can make a small file huge or infinite; that is an error too.
    """
    try:
        node: yaml.Node | None = yaml.compose(document, Loader=Loader)
        if node is not None and _values(node, {}) > _MAX_VALUES:
            raise yaml.YAMLError(f"its aliases expand to more than {_MAX_VALUES:,} values")
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    return node


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """Count the values of a node tree with aliases expanded; RecursionError if infinite."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        mapping = isinstance(node, yaml.MappingNode)
        children = [part for pair in node.value for part in pair] if mapping else node.value
        known[id(node)] = 1 + sum(_values(child, known) for child in children)
    return known[id(node)]


def construct(node: yaml.Node) -> Any:
    """Return the value of a node tree; raises yaml.YAMLError."""
    loader = Loader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def scalar(written: str) -> Any:
    """Return one value as YAML reads it; raises yaml.YAMLError."""
    node = compose(written)
    return None if node is None else construct(node)


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
    """Return the line (from 1) of ``path``, or of its nearest parent."""
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
    """Return duplicate keys of a mapping, with the line of the second: YAML keeps the last."""
    if isinstance(node, yaml.SequenceNode):
        return [repeated for child in node.value for repeated in repeated_keys(child)]
    if not isinstance(node, yaml.MappingNode):
        return []
    places = [(str(key.value), position(key)) for key, _ in node.value]
    own = [(name, at.line) for name, at in text.repeated_keys(places)]
    inner = [repeated for _, value in node.value for repeated in repeated_keys(value)]
    return sorted(own + inner, key=lambda repeated: repeated[1])


def position(key: yaml.Node) -> Position:
    """Return where a key is written."""
    mark = key.start_mark
    return Position(mark.line + 1, mark.column + 1, len(str(key.value)))

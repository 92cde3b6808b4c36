"""YAML files that another program reads with ``yaml.safe_load``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import yaml

from trtbuild.located import text
from trtbuild.located.positions import NOWHERE, Position
from trtbuild.located.text import LocatedText
from trtbuild.located.yamltext import position


@lru_cache(maxsize=128)
def read_yaml(content: bytes, file: str) -> LocatedText:
    """Parse bytes as one YAML mapping, as ``yaml.safe_load`` reads it; never raises."""
    try:
        document = content.decode("utf-8")
    except UnicodeDecodeError as error:
        return text.not_utf8(content, error, file)
    try:
        node = yaml.compose(document, Loader=yaml.SafeLoader)
        value = yaml.safe_load(document)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        at = Position(mark.line + 1, mark.column + 1) if mark else NOWHERE
        return LocatedText(problem=error.problem or "it is not YAML", at=at, file=file)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        # The others: a value of another type than its tag says.
        return LocatedText(problem=str(error) or "it is nested too deeply", file=file)
    if not isinstance(value, dict) or not isinstance(node, yaml.MappingNode):
        return LocatedText(problem="it is not a mapping", at=Position(1, 1), file=file)
    places = list(_upper_keys(node))
    named = {str(key): item for key, item in value.items()}
    return LocatedText(named, keys=dict(places), repeated=text.repeated_keys(places), file=file)


def _upper_keys(node: yaml.MappingNode, prefix: str = "") -> Iterator[tuple[str, Position]]:
    """Return the keys of a mapping and of the mappings directly inside it. No deeper: aliases can
    make a small file huge."""
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode):
            yield f"{prefix}{key.value}", position(key)
            if isinstance(value, yaml.MappingNode) and not prefix:
                yield from _upper_keys(value, f"{key.value}.")

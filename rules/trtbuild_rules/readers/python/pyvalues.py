"""The literal values in a Python source, known without running it."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping
from typing import Any


def constants_of(tree: ast.AST) -> dict[str, Any]:
    """Names that are given one literal value, once, anywhere in the source."""
    stored: Counter[str] = Counter()
    given: dict[str, ast.expr] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            stored[node.id] += 1
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if isinstance(target, ast.Name):
                given[target.id] = node.value
    values = {name: value_of(node, {}) for name, node in given.items() if stored[name] == 1}
    return {name: value for name, value in values.items() if value is not None}


def value_of(node: ast.expr, constants: Mapping[str, Any]) -> Any:
    """The value of a literal or of a name that stands for one; None for anything else.

    A dictionary keeps what can be read of it, with the key ``...`` if it has other keys; in a list,
    None stands for what cannot be read.
    """
    if isinstance(node, ast.Name):
        return constants.get(node.id)
    if isinstance(node, ast.List | ast.Tuple):
        return [value_of(each, constants) for each in node.elts]
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {
            key.value if isinstance(key, ast.Constant) else ...: value_of(value, constants)
            for key, value in pairs
        }
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None

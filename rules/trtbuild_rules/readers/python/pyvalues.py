"""The literal values in a Python source, known without running it."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, TypeGuard

CHANGING = {"append", "clear", "extend", "insert", "pop", "remove", "setdefault", "update"}


def constants_of(tree: ast.AST) -> dict[str, Any]:
    """Names that are given one literal value, once, anywhere in the source, and keep it."""
    stored: Counter[str] = Counter()
    given: dict[str, ast.expr] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            stored[node.id] += 1
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if isinstance(target, ast.Name):
                given[target.id] = node.value
    changed = changed_names(tree)
    values = {
        name: value_of(node, {})
        for name, node in given.items()
        if stored[name] == 1 and name not in changed
    }
    return {name: value for name, value in values.items() if value is not None}


def changed_names(tree: ast.AST) -> set[str]:
    """Names whose value is changed in place, or holds one that is changed by another name."""
    waiting: list[str] = []
    held: defaultdict[str, list[str]] = defaultdict(list)
    for node in ast.walk(tree):
        if _changes(node):
            waiting.append(_root(node))
        elif isinstance(node, ast.For):
            held[_root(node.target)].append(_root(node.iter))
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                held[_root(target)].append(_root(node.value))
    found = {""}
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += held[name]
    return found - {""}


def _changes(node: ast.AST) -> TypeGuard[ast.expr]:
    stored = isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load)
    return stored or (isinstance(node, ast.Attribute) and node.attr in CHANGING)


def _root(node: ast.expr) -> str:
    """The name that an expression such as ``x["a"].b[0]`` begins with; empty if it is another."""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


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

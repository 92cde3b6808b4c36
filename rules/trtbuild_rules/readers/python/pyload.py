"""Which calls must not return None while a model loads, read from the source of ``initialize``."""

from __future__ import annotations

import ast
from collections.abc import Iterator

_MODEL, _METHOD = "TritonPythonModel", "initialize"
_SIMPLE = ast.Assign | ast.AnnAssign | ast.Expr
# Parts of a statement that may never run.
_PERHAPS = ast.Lambda | ast.IfExp | ast.BoolOp | ast.comprehension | ast.NamedExpr


def subscripted(tree: ast.Module) -> frozenset[int]:
    """The ``id`` of each call in ``initialize`` whose result is certainly subscripted there.

    Only statements that always run count: none under a condition, in a loop or in ``try``, and
    none after a compound statement that may return or raise.
    """
    found: set[int] = set()
    held: dict[str, int] = {}
    for statement in _always(tree):
        for node in ast.walk(statement):
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
                value = node.value
                found.add(id(value) if isinstance(value, ast.Call) else held.get(_name(value), 0))
        for target in statement.targets if isinstance(statement, ast.Assign) else ():
            for node in ast.walk(target):
                held.pop(_name(node), None)
            if isinstance(statement.value, ast.Call) and _name(target):
                held[_name(target)] = id(statement.value)
    return frozenset(found - {0})


def _always(tree: ast.Module) -> Iterator[_SIMPLE]:
    methods = (
        item
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == _MODEL
        for item in node.body
        if isinstance(item, ast.FunctionDef) and item.name == _METHOD
    )
    for statement in (statement for method in methods for statement in method.body):
        inside = list(ast.walk(statement))
        if not isinstance(statement, _SIMPLE):
            if any(isinstance(node, ast.Return | ast.Raise | ast.Name) for node in inside):
                return  # it may also give a name another value
        elif not any(isinstance(node, _PERHAPS) for node in inside):
            yield statement


def _name(node: ast.expr | ast.AST) -> str:
    """``x`` or ``self.x``; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    is_attribute = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    return ast.unparse(node) if is_attribute else ""

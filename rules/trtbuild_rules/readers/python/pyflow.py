"""Which statements of a function certainly run, and what its conditions ask for."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from trtbuild_rules.readers.python.pyvalues import value_of

_TRANSPARENT = {"open", "nullcontext", "no_grad", "inference_mode", "catch_warnings"}
LEAVING_LOOPS = (ast.Return, ast.Raise, ast.Break)
"""What ends a loop before its last turn."""
_LEAVING = (*LEAVING_LOOPS, ast.Continue)


def asks_for(statement: ast.stmt, operator: type[ast.cmpop], known: Mapping[str, Any]) -> str:
    """The tensor of which ``if x["name"] not in names`` asks, or ``in``; empty for others."""
    test = statement.test if isinstance(statement, ast.If) else None
    if not isinstance(test, ast.Compare) or [type(each) for each in test.ops] != [operator]:
        return ""
    left = test.left
    if isinstance(left, ast.Subscript):
        holder, key = left.value, left.slice
    elif isinstance(left, ast.Call) and isinstance(left.func, ast.Attribute) and left.args:
        holder, key = left.func.value, left.args[0]
    else:
        return _text(value_of(left, known))
    properties = value_of(holder, known)
    named = isinstance(properties, dict) and value_of(key, known) == "name"
    return _text(properties.get("name")) if named else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def only_continues(statement: ast.stmt) -> bool:
    """``if …: continue``."""
    return (
        isinstance(statement, ast.If)
        and len(statement.body) == 1
        and isinstance(statement.body[0], ast.Continue)
        and not statement.orelse
    )


def suppresses_nothing(statement: ast.With) -> bool:
    """Whether an exception in the block certainly ends the function, too."""
    return all(_name_of(item.context_expr) in _TRANSPARENT for item in statement.items)


def _name_of(expression: ast.expr) -> str:
    function = expression.func if isinstance(expression, ast.Call) else expression
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def may_leave(node: ast.AST, kinds: tuple[type[ast.stmt], ...] = _LEAVING) -> bool:
    """Whether the statements after this one may be left out."""
    if isinstance(node, kinds):
        return True
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return False
    if isinstance(node, ast.For | ast.AsyncFor | ast.While):
        return any(may_leave(each, (ast.Return, ast.Raise)) for each in node.body) or any(
            may_leave(each, kinds) for each in node.orelse
        )
    inner = (ast.stmt, ast.ExceptHandler, ast.match_case)
    return any(
        may_leave(each, kinds) for each in ast.iter_child_nodes(node) if isinstance(each, inner)
    )

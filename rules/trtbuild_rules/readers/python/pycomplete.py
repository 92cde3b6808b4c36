"""What ``auto_complete_config`` of a Python model adds to a configuration, read without running it.

What the backend makes of it: triton-inference-server/python_backend, ``ModelConfig`` in
src/resources/triton_python_backend_utils.py.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trtbuild.located.positions import NOWHERE, Position
from trtbuild_rules.readers.python.pyrefused import improper, never_accepted
from trtbuild_rules.readers.python.pyvalues import value_of

METHOD = "auto_complete_config"
_ADDING = {"add_input": "input", "add_output": "output"}
_BATCH = "set_max_batch_size"
_BATCHING = "set_dynamic_batching"
# Methods that neither add a tensor nor hand the configuration to somebody else.
_HARMLESS = {*_ADDING, _BATCH, _BATCHING, "as_dict", "set_model_transaction_policy"}
_MOST_STATEMENTS = 10_000  # nested loops can be longer than anybody waits
_CHANGING = {"append", "clear", "extend", "insert", "pop", "remove", "setdefault", "update"}


@dataclass(frozen=True, slots=True)
class Added:
    """A tensor that is added, or kept if the configuration has it: its literal properties."""

    kind: str
    properties: Mapping[str, Any]


@dataclass(slots=True)
class Completion:
    """What is known of a completion.

    Attributes:
        added: The tensors that it certainly adds.
        whole: Whether it adds no others.
        batch: The ``max_batch_size`` that it sets; 0 when it sets none, None when that is not
            known.
        sets_batch: Whether it certainly sets one.
        batching: Whether it certainly asks for dynamic batching.
        refused: What the backend refuses in any configuration: our words and the server's, with
            ``{model}`` for the model's name.
        at: Where the method is.
    """

    added: list[Added] = field(default_factory=list)
    whole: bool = True
    batch: int | None = 0
    sets_batch: bool = False
    batching: bool = False
    refused: list[tuple[str, str]] = field(default_factory=list)
    at: Position = field(default=NOWHERE, compare=False)


UNKNOWN = Completion(whole=False, batch=None)


def completion_of(function: ast.FunctionDef, constants: Mapping[str, Any]) -> Completion:
    """What the function does, given the names that stand for one literal in its module."""
    found = Completion(
        refused=list(never_accepted(function)),
        at=Position(function.lineno, function.col_offset + 1),
    )
    name = _parameter(function)
    if name is None or _escapes(function, name):
        found.whole, found.batch = False, None
    if name is None:
        return found
    _Reader(name, found).read(function.body, constants, certain=True)
    return found


def _parameter(function: ast.FunctionDef) -> str | None:
    """The parameter that is the configuration; None if a decorator may change the function."""
    decorators = [d.id if isinstance(d, ast.Name) else "" for d in function.decorator_list]
    names = [each.arg for each in (*function.args.posonlyargs, *function.args.args)]
    if decorators not in ([], ["staticmethod"], ["classmethod"]):
        return None
    place = 1 if decorators == ["classmethod"] else 0
    return names[place] if place < len(names) else None


def _escapes(function: ast.FunctionDef, name: str) -> bool:
    """Whether the configuration is handed on, or changed otherwise than by its known methods."""
    parents = {child: node for node in ast.walk(function) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and node.id == name:
            parent = parents[node]
            if isinstance(node.ctx, ast.Store):
                return True
            if isinstance(parent, ast.Return):
                continue
            if not (isinstance(parent, ast.Attribute) and parent.attr in _HARMLESS):
                return True
            if parent.attr == "as_dict" and not _only_read(function, parents, parents[parent]):
                return True
    return False


def _only_read(
    function: ast.FunctionDef, parents: Mapping[ast.AST, ast.AST], call: ast.AST
) -> bool:
    """Whether the dictionary that ``as_dict()`` returns is only looked into."""
    holder = parents[call]
    if not isinstance(holder, ast.Assign):
        return _is_lookup(parents, call)
    target = holder.targets[0]
    if len(holder.targets) != 1 or not isinstance(target, ast.Name):
        return False
    return all(
        _is_lookup(parents, node)
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and node.id == target.id and node is not target
    )


def _is_lookup(parents: Mapping[ast.AST, ast.AST], node: ast.AST) -> bool:
    """Whether a value is only subscripted, and what that gives is not changed there."""
    parent = parents[node]
    if not isinstance(parent, ast.Subscript) or parent.value is not node:
        return False
    above = parents[parent]
    changed = isinstance(above, ast.Attribute) and above.attr in _CHANGING
    return isinstance(parent.ctx, ast.Load) and not changed


class _Reader:
    """Follows the statements of the function."""

    def __init__(self, name: str, completion: Completion) -> None:
        self.name, self.found = name, completion
        self._left = _MOST_STATEMENTS

    def read(self, body: Sequence[ast.stmt], known: Mapping[str, Any], *, certain: bool) -> None:
        for statement in body:
            self._left -= 1
            if self._left < 0:
                self.found.whole, self.found.batch = False, None
            if self._left < 0 or isinstance(statement, ast.Return):
                return
            self._statement(statement, known, certain)
            if _may_return(statement):
                certain = False

    def _statement(self, statement: ast.stmt, known: Mapping[str, Any], certain: bool) -> None:
        if isinstance(statement, ast.For):
            values = value_of(statement.iter, known)
            if isinstance(values, list | tuple) and isinstance(statement.target, ast.Name):
                for value in values:
                    self.read(
                        statement.body, {**known, statement.target.id: value}, certain=certain
                    )
                return
            self.read([*statement.body, *statement.orelse], known, certain=False)
        elif isinstance(statement, ast.If):
            self.read(statement.body, known, certain=certain and _if_absent(statement))
            self.read(statement.orelse, known, certain=False)
        elif isinstance(statement, ast.With):
            self.read(statement.body, known, certain=certain)
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            self._call(statement.value, known, certain)
        else:
            for call in _calls(statement):
                self._call(call, known, certain=False)

    def _call(self, call: ast.Call, known: Mapping[str, Any], certain: bool) -> None:
        method = _method(call, self.name)
        if method in _ADDING:
            properties = value_of(call.args[0], known) if len(call.args) == 1 else None
            if certain and isinstance(properties, dict):
                self.found.refused += improper(_ADDING[method], properties)
            if certain and isinstance(properties, dict) and isinstance(properties.get("name"), str):
                self.found.added.append(Added(_ADDING[method], properties))
            else:
                self.found.whole = False
        elif method == _BATCH:
            size = value_of(call.args[0], known) if len(call.args) == 1 else None
            self.found.batch = size if certain and isinstance(size, int) else None
            self.found.sets_batch = self.found.batch is not None
        elif method == _BATCHING:
            self.found.batching |= certain


def _if_absent(statement: ast.If) -> bool:
    """``if x["name"] not in names``: what is added unless it is there, is there afterwards."""
    test = statement.test
    return (
        isinstance(test, ast.Compare)
        and len(test.ops) == 1
        and isinstance(test.ops[0], ast.NotIn)
        and not statement.orelse
    )


def _may_return(statement: ast.stmt) -> bool:
    return any(isinstance(node, ast.Return | ast.Raise) for node in ast.walk(statement))


def _calls(statement: ast.stmt) -> Iterator[ast.Call]:
    return (node for node in ast.walk(statement) if isinstance(node, ast.Call))


def _method(call: ast.Call, name: str) -> str:
    function = call.func
    if not isinstance(function, ast.Attribute) or not isinstance(function.value, ast.Name):
        return ""
    return function.attr if function.value.id == name else ""

"""What ``auto_complete_config`` of a Python model adds to a configuration, read without running it.

What the backend makes of it: triton-inference-server/python_backend, ``ModelConfig`` in
src/resources/triton_python_backend_utils.py.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from trtbuild.located.positions import NOWHERE, Position
from trtbuild_rules.readers.python.pyflow import (
    LEAVING_LOOPS,
    asks_for,
    may_leave,
    only_continues,
    suppresses_nothing,
)
from trtbuild_rules.readers.python.pyrefused import improper, is_generator, never_accepted
from trtbuild_rules.readers.python.pyvalues import CHANGING, changed_names, value_of

METHOD = "auto_complete_config"
_ADDING = {"add_input": "input", "add_output": "output"}
_BATCH = "set_max_batch_size"
_BATCHING = "set_dynamic_batching"
# Methods that neither add a tensor nor hand the configuration to somebody else.
_HARMLESS = {*_ADDING, _BATCH, _BATCHING, "as_dict", "set_model_transaction_policy"}
_MOST_STATEMENTS = 10_000  # nested loops can be longer than anybody waits


@dataclass(frozen=True, slots=True)
class Added:
    """A tensor that is added, or kept if the configuration has it: its literal properties, and
    whether it is not added again where the configuration may have it."""

    kind: str
    properties: Mapping[str, Any]
    guarded: bool = field(default=False, compare=False)


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
    if is_generator(function):  # whose body the backend never runs
        found.whole, found.batch = False, None
        return found
    name = _parameter(function)
    escapes = name is None or _escapes(function, name)
    if escapes:
        found.whole, found.batch = False, None
    if name is None or name in _stored(function):
        return found
    reader = _Reader(name, found, _stored(function) | changed_names(function), guarded=escapes)
    reader.read(function.body, constants, certain=True)
    return found


def _stored(function: ast.FunctionDef) -> set[str]:
    """The names that are set other than by iterating over something."""
    loops = {id(node.target) for node in ast.walk(function) if isinstance(node, ast.For)}
    return {
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in loops
    }


def _parameter(function: ast.FunctionDef) -> str | None:
    """The parameter that is the configuration; None if a decorator may change the function."""
    decorators = [d.id if isinstance(d, ast.Name) else "" for d in function.decorator_list]
    names = [each.arg for each in (*function.args.posonlyargs, *function.args.args)]
    if decorators not in ([], ["staticmethod"], ["classmethod"]):
        return None
    place = 1 if decorators == ["classmethod"] else 0
    return names[place] if place < len(names) else None


def _escapes(function: ast.FunctionDef, name: str) -> bool:
    """Whether the configuration is handed on, or changed other than by its known methods."""
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
    changed = isinstance(above, ast.Attribute) and above.attr in CHANGING
    return isinstance(parent.ctx, ast.Load) and not changed


class _Reader:
    """Follows the statements of the function. ``changed`` are the names whose value may be another
    than the one that they were given; what is ``guarded`` may be left out if the configuration has
    it already."""

    def __init__(
        self, name: str, completion: Completion, changed: Set[str], *, guarded: bool
    ) -> None:
        self.name, self.found = name, completion
        self._changed, self._guarded = changed, guarded
        self._asked: str | None = None  # the tensor whose absence a condition asked for
        self._left = _MOST_STATEMENTS

    def read(self, body: Sequence[ast.stmt], known: Mapping[str, Any], *, certain: bool) -> None:
        before = self._guarded, self._asked
        for statement in body:
            self._left -= 1
            if self._left < 0:
                self.found.whole, self.found.batch = False, None
                break
            self._statement(statement, known, certain)
            if isinstance(statement, ast.Return):
                break
            if (asked := asks_for(statement, ast.In, known)) and only_continues(statement):
                certain = self._ask(asked) and certain
            else:
                certain = certain and not may_leave(statement)
        self._guarded, self._asked = before

    def _ask(self, name: str) -> bool:
        """Read on where a tensor is absent; False if that is another than was asked for before."""
        same = self._asked in (None, name)
        self._guarded, self._asked = True, name
        return same

    def _statement(self, statement: ast.stmt, known: Mapping[str, Any], certain: bool) -> None:
        if isinstance(statement, ast.For):
            self._uncertain(statement.iter, known)
            self._loop(statement, known, certain)
        elif isinstance(statement, ast.If):
            self._uncertain(statement.test, known)
            before = self._guarded, self._asked
            asked = "" if statement.orelse else asks_for(statement, ast.NotIn, known)
            absent = bool(asked) and self._ask(asked)
            self._guarded = True
            self.read(statement.body, known, certain=certain and absent)
            self._guarded, self._asked = before
            self.read(statement.orelse, known, certain=False)
        elif isinstance(statement, ast.With):
            for item in statement.items:
                self._uncertain(item, known)
            self.read(statement.body, known, certain=certain and suppresses_nothing(statement))
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            for call in _calls(statement):
                self._call(call, known, certain and call is statement.value)
        else:
            self._uncertain(statement, known)

    def _loop(self, loop: ast.For, known: Mapping[str, Any], certain: bool) -> None:
        values = value_of(loop.iter, known)
        target = loop.target.id if isinstance(loop.target, ast.Name) else ""
        if isinstance(values, list | tuple) and target and target not in self._changed:
            stays = not any(may_leave(each, LEAVING_LOOPS) for each in loop.body)
            for value in values:
                self.read(loop.body, {**known, target: value}, certain=certain)
                certain = certain and stays
            self.read(loop.orelse, known, certain=certain and stays)
        else:
            self.read([*loop.body, *loop.orelse], known, certain=False)

    def _is_asked(self, kind: str, name: Any) -> bool:
        """Whether the condition around asks for this tensor, and for none of the other kind."""
        others = {one.properties["name"] for one in self.found.added if one.kind != kind}
        return self._asked is None or (self._asked == name and name not in others)

    def _uncertain(self, node: ast.AST, known: Mapping[str, Any]) -> None:
        for call in _calls(node):
            self._call(call, known, certain=False)

    def _call(self, call: ast.Call, known: Mapping[str, Any], certain: bool) -> None:
        method = _method(call, self.name)
        if method in _ADDING:
            properties: Any = value_of(call.args[0], known) if len(call.args) == 1 else None
            literal = certain and isinstance(properties, dict)
            literal = literal and self._is_asked(_ADDING[method], properties.get("name"))
            if literal and isinstance(properties.get("name"), str):
                self.found.added.append(Added(_ADDING[method], properties, self._guarded))
            else:
                self.found.whole = False
                if literal and not self._guarded:
                    self.found.refused += improper(_ADDING[method], properties)
        elif method == _BATCH:
            size = value_of(call.args[0], known) if len(call.args) == 1 else None
            known_size = certain and self._asked is None and isinstance(size, int)
            self.found.batch = size if known_size else None
            self.found.sets_batch = self.found.batch is not None and not self._guarded
        elif method == _BATCHING:
            self.found.batching |= certain and not self._guarded


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    return (each for each in ast.walk(node) if isinstance(each, ast.Call))


def _method(call: ast.Call, name: str) -> str:
    function = call.func
    if not isinstance(function, ast.Attribute) or not isinstance(function.value, ast.Name):
        return ""
    return function.attr if function.value.id == name else ""

"""The server's messages in the validator's rules, as patterns.

A rule has what the server prints as ``Problem(…, server=f"…")``. That expression is read from the
rule's source: its literal parts form the pattern, and each value is a gap. So a message is written
only once, in its rule (docs/adr/0106).
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

from trtbuild.check import Rule, all_rules
from trtbuild.explain.patterns import Finder

_PROVES = 24  # minimum literal characters of a sentence to count as evidence
_WORDS = 12  # of one literal part
_MOST = 32  # variants of one sentence
_DEEPEST = 6  # depth of nested function calls
_SERVER = re.compile(r"\bserver: |\bRefusal\(")  # the argument with the server's message

Parts = tuple[str | None, ...]  # None is a gap
_GAP: tuple[Parts, ...] = ((None,),)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A message of the server; ``has`` is its longest literal part, for a fast pre-check."""

    rule: Rule
    pattern: re.Pattern[str]
    has: str


def rule_of(text: str) -> Rule | None:
    """Return the rule whose message ``text`` contains; of several the most specific."""
    for number in _finder()(text):
        sentence = sentences()[number]
        if sentence.has in text and sentence.pattern.search(text):
            return sentence.rule
    return None


@cache
def _finder() -> Finder:
    return Finder(frozenset({sentence.has}) for sentence in sentences())


@cache
def sentences() -> tuple[Sentence, ...]:
    """Return all messages, those with the most literal text first."""
    found: dict[str, tuple[int, Sentence]] = {}
    for rule in all_rules():
        for parts in _of_rule(rule):
            literals = [" ".join(part.split()) for part in parts if part and part.strip()]
            length = sum(map(len, literals))
            if length <= _PROVES or max(map(len, literals)) < _WORDS:
                continue
            pattern = _pattern(parts)
            longest = max(literals, key=len)
            found.setdefault(pattern, (length, Sentence(rule, re.compile(pattern), longest)))
    ordered = sorted(found.values(), key=lambda one: -one[0])
    return tuple(sentence for _, sentence in ordered)


def _pattern(parts: Parts) -> str:
    """Return a regular expression; blanks match any blanks, gaps at the ends are dropped."""
    text = "".join("\0" if part is None else re.sub(r"\s+", " ", part) for part in parts)
    text = re.sub("\0+", "\0", text).strip("\0 ")
    return ".*?".join(map(re.escape, text.split("\0")))


def _of_rule(rule: Rule) -> Iterator[Parts]:
    module = sys.modules[rule.check.__module__]
    reader = _Reader(module)
    seen: set[str] = set()
    names: set[str] = set()
    waiting = [rule.check.__name__]
    elsewhere = False
    while waiting:
        name = waiting.pop()
        function = reader.functions.get(name)
        if function is None or name in seen:
            continue
        seen.add(name)
        for node in _nodes(function):
            if isinstance(node, ast.Name):
                names.add(node.id)
                waiting.append(node.id)
                elsewhere = elsewhere or _passes_on(vars(module).get(node.id))
            if isinstance(node, ast.keyword) and node.arg == "server":
                elsewhere = elsewhere or isinstance(node.value, ast.Attribute)
                yield from reader.texts(node.value, function)
    if elsewhere:  # whatever a module of the check makes
        for other in sorted(_used(module, names), key=lambda one: one.__name__):
            yield from _texts_of(other)


def _passes_on(function: Any) -> bool:
    """Whether a function of a helper module makes problems of refusals that others make:
    ``Problem(…, server=refusal.server)``."""
    helper = _helper(function)
    if helper is None or "server=" not in _source(helper):
        return False
    node = _functions(helper).get(getattr(function, "__name__", ""))
    return node is not None and any(
        isinstance(each, ast.keyword)
        and each.arg == "server"
        and isinstance(each.value, ast.Attribute)
        for each in _nodes(node)
    )


def _helper(value: Any) -> ModuleType | None:
    """Return the module of the check or of a package of rules, itself without rules, that
    ``value`` comes from."""
    where = str(getattr(value, "__module__", ""))
    if not where.startswith(_packages()) or where == Rule.__module__ or where in _with_rules():
        return None
    return sys.modules[where]


@cache
def _with_rules() -> frozenset[str]:
    return frozenset(rule.check.__module__ for rule in all_rules())


@cache
def _packages() -> tuple[str, ...]:
    roots = {name.partition(".")[0] for name in _with_rules()} - {"trtbuild"}
    return ("trtbuild.check.", *(f"{root}." for root in sorted(roots)))


def _used(module: ModuleType, names: Iterable[str], *, more: bool = True) -> set[ModuleType]:
    """Return the check's non-rule modules that ``names`` of a module come from, recursively."""
    found: set[ModuleType] = set()
    for name in names:
        helper = _helper(vars(module).get(name))
        if helper is not None:
            found.add(helper)
    if more:
        for other in tuple(found):
            found |= _used(other, vars(other), more=False)
    return {one for one in found if _SERVER.search(_source(one))}


@cache
def _texts_of(module: ModuleType) -> tuple[Parts, ...]:
    """Return every text with values. Messages that trtbuild words itself are in no log."""
    tree = ast.parse(_source(module))
    reader = _Reader(module)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return tuple(
        parts
        for function in functions
        for node in _nodes(function)
        if isinstance(node, ast.JoinedStr)
        for parts in reader.texts(node, function)
    )


@cache
def _source(module: ModuleType) -> str:
    return Path(module.__file__ or "").read_text(encoding="utf-8")


@cache
def _functions(module: ModuleType) -> Mapping[str, ast.FunctionDef]:
    tree = ast.parse(_source(module))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


@cache
def _nodes(function: ast.FunctionDef) -> tuple[ast.AST, ...]:
    """Return all nodes of a function; helpers are shared by many rules."""
    return tuple(ast.walk(function))


class _Reader:
    """Reads expressions of one module as text with gaps."""

    def __init__(self, module: ModuleType) -> None:
        self.functions = _functions(module)
        self._module = module
        self._depth = 0

    def texts(self, node: ast.expr | None, scope: ast.FunctionDef) -> tuple[Parts, ...]:
        """Return the possible values of the expression."""
        match node:
            case ast.Constant(value=str(text)):
                found: tuple[Parts, ...] = ((text,),)
            case ast.JoinedStr(values=values):
                found = self._joined([self.texts(value, scope) for value in values])
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                found = self._joined([self.texts(left, scope), self.texts(right, scope)])
            case ast.IfExp(body=left, orelse=right):
                found = self.texts(left, scope) + self.texts(right, scope)
            case ast.Name(id=name):
                found = self._named(name, scope)
            case _:
                found = self._other(node, scope)
        return found

    def _other(self, node: ast.expr | None, scope: ast.FunctionDef) -> tuple[Parts, ...]:
        match node:
            case ast.FormattedValue(value=value):
                return self.texts(value, scope)
            case ast.BoolOp(values=values):
                return sum((self.texts(value, scope) for value in values), ())
            case ast.Call(func=ast.Attribute(value=value, attr="format")):
                return tuple(_fields(parts) for parts in self.texts(value, scope))
            case ast.Call(func=ast.Name(id=name)) if name in self.functions:
                return self._returned(name, None)
        return _GAP

    def _joined(self, parts: list[tuple[Parts, ...]]) -> tuple[Parts, ...]:
        several = [sum(one, ()) for one in product(*parts)]
        return tuple(several[:_MOST])

    def _named(self, name: str, scope: ast.FunctionDef) -> tuple[Parts, ...]:
        """Resolve a local variable by its assignments, a module constant by its value."""
        found: list[tuple[Parts, ...]] = []
        for node in _nodes(scope):
            match node:
                case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                    found.append(self.texts(value, scope))
                case (
                    ast.For(target=ast.Tuple(elts=names), iter=value)
                    | ast.Assign(targets=[ast.Tuple(elts=names)], value=value)
                ):
                    found += self._unpacked(name, names, value)
        if found:
            return sum(found, ())
        constant = vars(self._module).get(name)
        return ((constant,),) if isinstance(constant, str) else _GAP

    def _unpacked(
        self, name: str, names: list[ast.expr], value: ast.expr
    ) -> Iterator[tuple[Parts, ...]]:
        """Resolve ``for message, server in problems(model)``: the second yielded value."""
        for number, target in enumerate(names):
            if isinstance(target, ast.Name) and target.id == name:
                match value:
                    case ast.Call(func=ast.Name(id=called)) if called in self.functions:
                        yield self._returned(called, number)
                    case _:
                        yield _GAP

    def _returned(self, name: str, number: int | None) -> tuple[Parts, ...]:
        """Return what a function returns or yields; of a tuple the element ``number``."""
        if self._depth == _DEEPEST:
            return _GAP
        self._depth += 1
        try:
            scope = self.functions[name]
            found: list[tuple[Parts, ...]] = []
            for node in _nodes(scope):
                if isinstance(node, ast.Return | ast.Yield):
                    value: ast.expr | None = node.value
                    if number is not None and isinstance(value, ast.Tuple):
                        value = value.elts[number] if number < len(value.elts) else None
                    found.append(self.texts(value, scope))
            return sum(found, ()) or _GAP
        finally:
            self._depth -= 1


def _fields(parts: Parts) -> Parts:
    """Return the parts of a ``str.format`` text; each ``{}`` is a gap."""
    found: list[str | None] = []
    for part in parts:
        pieces: list[str | None] = [None]
        if part is not None:
            pieces = [piece for one in re.split(r"\{\w*\}", part) for piece in (None, one)][1:]
        found += pieces
    return tuple(found)

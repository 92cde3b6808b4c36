"""A Triton Python model read without running it: its class, its methods, the tensors it names."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeGuard

from trtbuild.located.positions import NOWHERE, Position
from trtbuild_rules.readers.python.pycomplete import METHOD, UNKNOWN, Completion, completion_of
from trtbuild_rules.readers.python.pyload import subscripted
from trtbuild_rules.readers.python.pyvalues import constants_of, value_of

_CLASS = "TritonPythonModel"
_OBJECT = "object"
_AS_PROGRAM = "__name__ == '__main__'"  # never true of a model
_ANY = 1 << 16  # more arguments than anyone passes
_DECLARING = {"add_input": "input", "add_output": "output"}
# The backend's helpers that take a tensor by its name; the name's place among the arguments.
_NAMING = {
    "get_input_tensor_by_name": ("input", 1),
    "get_input_config_by_name": ("input", 1),
    "get_output_config_by_name": ("output", 1),
}


@dataclass(frozen=True, slots=True)
class Named:
    """A tensor that the source names.

    Attributes:
        kind: ``input`` or ``output``.
        declared: Whether ``auto_complete_config`` declares it, with its type and shape.
        guarded: Whether that is under a condition.
        data_type: ``TYPE_…`` as declared, empty if it cannot be read.
        dims: As declared, without the batch; None if they cannot be read.
        needed: Whether the model does not load if the configuration lacks it.
    """

    kind: str
    name: str
    at: Position
    declared: bool = False
    guarded: bool = False
    data_type: str = ""
    dims: tuple[int, ...] | None = None
    needed: bool = False


@dataclass(frozen=True, slots=True)
class PySource:
    """A ``model.py``, or the place and reason why it is not Python.

    Attributes:
        defines: Whether the module has a ``TritonPythonModel``, be it imported.
        inherits: Whether that may have methods of a base class that is not here.
        methods: Those that the class itself has, with the fewest and the most arguments that they
            take by position, ``self`` included.
        tensors: What it names.
        calls_models: Where it first makes a request to another model, None if it makes none.
        completion: What it adds to the configuration, None if it completes none.
    """

    problem: str = ""
    at: Position = NOWHERE
    defines: bool = False
    inherits: bool = False
    methods: dict[str, tuple[int, int]] = field(default_factory=dict)
    tensors: tuple[Named, ...] = ()
    calls_models: Position | None = None
    completion: Completion | None = None


@lru_cache(maxsize=512)
def read_source(content: bytes) -> PySource:
    """Parse a ``model.py``; never raises, never runs anything."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other people's escape sequences
            tree = ast.parse(content)
            compile(tree, "model.py", "exec", dont_inherit=True)
    except SyntaxError as error:
        return PySource(error.msg, Position(error.lineno or 1, error.offset or 1))
    except (ValueError, RecursionError, MemoryError) as error:
        return PySource(str(error) or "it is nested too deeply", Position(1, 1))
    try:
        return _described(tree)
    except RecursionError:
        return PySource(defines=True, inherits=True)


def _described(tree: ast.Module) -> PySource:
    calls = [node for node in ast.walk(tree) if _is_model_call(node)]
    return replace(_of_class(tree), calls_models=_at(calls[0]) if calls else None)


def _is_model_call(node: ast.AST) -> TypeGuard[ast.Call]:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
        return False
    called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
    return called == "InferenceRequest"


def _of_class(tree: ast.Module) -> PySource:
    defined = _top_names(tree)
    model = defined.get(_CLASS)
    tensors = tuple(_tensors(tree))
    if isinstance(model, ast.ClassDef):
        methods = {
            item.name: _arity(item)
            for item in model.body
            if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        based = _is_based(model)
        inherits = based or any(isinstance(item, ast.Assign) for item in model.body)
        completion = _completion(tree, model, based=based)
        return PySource("", NOWHERE, True, inherits, methods, tensors, completion=completion)
    # `from x import *` may bring it, as may an assignment.
    defines = _CLASS in defined or "*" in defined
    completion = UNKNOWN if defines else None
    return PySource("", NOWHERE, defines, defines, {}, tensors, completion=completion)


def _is_based(model: ast.ClassDef) -> bool:
    """Whether a class may have more than its body says."""
    bases = [
        base for base in model.bases if not (isinstance(base, ast.Name) and base.id == _OBJECT)
    ]
    return bool(bases or model.keywords or model.decorator_list)


def _completion(tree: ast.Module, model: ast.ClassDef, *, based: bool) -> Completion | None:
    own = [item for item in model.body if isinstance(item, ast.FunctionDef) and item.name == METHOD]
    named = [node for node in ast.walk(tree) if _names(node, METHOD)]
    if len(own) == len(named) == 1:
        return completion_of(own[0], constants_of(tree))
    return UNKNOWN if named or based else None


def _names(node: ast.AST, name: str) -> bool:
    """Whether a node defines, sets or quotes something of a name."""
    return (
        (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name)
        or (isinstance(node, ast.Name) and node.id == name)
        or (isinstance(node, ast.Attribute) and node.attr == name)
        or (isinstance(node, ast.Constant) and node.value == name)
    )


def _top_names(tree: ast.Module) -> dict[str, ast.AST]:
    """What the module defines, also under ``if`` and ``try``."""
    found: dict[str, ast.AST] = {}
    waiting: list[ast.AST] = [tree]
    while waiting:
        for node in ast.iter_child_nodes(waiting.pop()):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                found[node.name] = node
            elif isinstance(node, ast.If) and ast.unparse(node.test) == _AS_PROGRAM:
                waiting.append(ast.Module(node.orelse, []))
            elif isinstance(node, ast.ImportFrom | ast.Import):
                found.update({alias.asname or alias.name: node for alias in node.names})
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found[node.id] = node
            elif isinstance(node, ast.stmt | ast.ExceptHandler | ast.Tuple | ast.NamedExpr):
                waiting.append(node)
    return found


def _arity(item: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[int, int]:
    given = item.args
    if item.decorator_list:
        return 0, _ANY
    most = len(given.posonlyargs) + len(given.args)
    return most - len(given.defaults), _ANY if given.vararg else most


def _tensors(tree: ast.Module) -> Iterator[Named]:
    constants, needed = constants_of(tree), subscripted(tree)
    guarded = {
        id(node)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.If)
        for node in ast.walk(outer)
        if isinstance(node, ast.Call)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        if called in _DECLARING and len(node.args) == 1:
            for named in _declared(node.args[0], _DECLARING[called], constants):
                yield replace(named, guarded=id(node) in guarded)
        elif called in _NAMING and len(node.args) > _NAMING[called][1]:
            kind, place = _NAMING[called]
            name = value_of(node.args[place], constants)
            if isinstance(name, str):
                yield Named(kind, name, _at(node.args[place]), needed=id(node) in needed)


def _declared(node: ast.expr, kind: str, constants: dict[str, Any]) -> Iterator[Named]:
    value = value_of(node, constants)
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return
    dims = value.get("dims")
    known = isinstance(dims, list | tuple) and all(isinstance(size, int) for size in dims)
    yield Named(
        kind,
        value["name"],
        _at(node),
        declared=True,
        data_type=str(value.get("data_type") or ""),
        dims=tuple(dims) if known and dims is not None else None,
    )


def _at(node: ast.expr) -> Position:
    return Position(node.lineno, node.col_offset + 1)

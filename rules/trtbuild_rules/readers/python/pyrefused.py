"""What the Python backend refuses of ``auto_complete_config``, whatever the configuration has.

Source: triton-inference-server/python_backend, ``ModelConfig`` in
src/resources/triton_python_backend_utils.py, and ``Stub::AutoCompleteModelConfig``. Every reason is
the text of ours and of the server, with ``{model}`` for the model's name.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

_REQUIRED = ("name", "data_type", "dims")
_ALLOWED = {"input": (*_REQUIRED, "optional"), "output": _REQUIRED}
_WORDS = {
    "input": "'name', 'data_type', 'dims' and 'optional'",
    "output": "'name', 'data_type' and 'dims'",
}
_WHERE = "in auto-complete-config function for model '{model}'"
_OPENS = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef


def improper(kind: str, properties: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    """The first reason why the literal properties of a tensor cannot be added; ``...`` among the
    keys stands for others."""
    name = properties.get("name")
    called = f"{kind} '{name}'" if name is not None else kind
    shown = braced(called)
    for key in properties:
        if key is not ... and key not in _ALLOWED[kind]:
            says = f"{shown} {_WHERE} contains property other than {_WORDS[kind]}."
            yield f"{called} has the property {key!r}; it takes {', '.join(_ALLOWED[kind])}", says
            return
    for key in _REQUIRED if ... not in properties else ():
        if key not in properties:
            yield f"{called} has no {key!r}", f"{shown} {_WHERE} is missing '{key}' property."
            return


def braced(text: str) -> str:
    """``text`` for a template that is formatted later."""
    return text.replace("{", "{{").replace("}", "}}")


def never_accepted(function: ast.FunctionDef) -> Iterator[tuple[str, str]]:
    """Why the backend cannot call the method, or take what it returns."""
    decorators = [each.id if isinstance(each, ast.Name) else "" for each in function.decorator_list]
    if decorators not in ([], ["staticmethod"], ["classmethod"]):
        return
    called = f"{function.name}()"
    if wrong := _arguments(function.args, bound=decorators == ["classmethod"]):
        yield f"the backend passes the configuration alone: {called} {wrong}", f"{called} {wrong}"
    elif _returns_nothing(function):
        yield (
            "it does not return the configuration",
            f"{function.name} function in model '{{model}}' must return a valid pb.ModelConfig "
            "object.",
        )


def _arguments(arguments: ast.arguments, *, bound: bool) -> str:
    """What Python says of one argument; empty if the method takes it."""
    places = [*arguments.posonlyargs, *arguments.args][bound:]
    required = places[: max(0, len(places) - len(arguments.defaults))]
    if not places and arguments.vararg is None:
        return f"takes {int(bound)} positional argument{'' if bound else 's'}"
    if len(required) > 1:
        many = len(required) > 2
        return f"missing {len(required) - 1} required positional argument{'s' if many else ''}"
    needed = [
        each.arg
        for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is None
    ]
    return f"missing {len(needed)} required keyword-only argument" if needed else ""


def _returns_nothing(function: ast.FunctionDef) -> bool:
    """Whether every way out returns None; not of one that may raise on purpose."""
    own = list(_own_nodes(function))
    if is_generator(function) or any(isinstance(node, ast.Raise) for node in own):
        return False
    values = [node.value for node in own if isinstance(node, ast.Return)]
    return all(
        value is None or (isinstance(value, ast.Constant) and value.value is None)
        for value in values
    )


def is_generator(function: ast.FunctionDef) -> bool:
    """Whether calling it only returns a generator."""
    return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in _own_nodes(function))


def _own_nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """The nodes of a function without those of functions inside it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _OPENS):
            waiting += ast.iter_child_nodes(node)

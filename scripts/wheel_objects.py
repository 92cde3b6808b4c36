"""What vLLM's own configuration classes refuse: bounds, names of enumerations, unknown keys.

Read with :mod:`ast` alone, as :mod:`wheel_types` does.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from wheel_types import Missing, Sources, default_of, json_types, named, nulls, parts

_BOUNDS = {"ge": "min", "gt": "above", "le": "max", "lt": "below"}
_DEPTH = 3

Found = tuple[str, ast.ClassDef]
"""A class and the module that it stands in."""


def class_of(sources: Sources, module: str, name: str) -> Found | None:
    """The class that ``name`` means in a module."""
    found = sources.find(module, name)
    return (found[0], found[1]) if found and isinstance(found[1], ast.ClassDef) else None


def homes(sources: Sources, module: str, owner: ast.ClassDef) -> dict[str, tuple[Found, str]]:
    """Where each argument ends up: ``Config(field=self.argument)`` of the engine's methods."""
    found: dict[str, tuple[Found, str]] = {}
    for call in _calls(owner):
        config = class_of(sources, module, named(call.func))
        for keyword in call.keywords:
            argument = _of_self(keyword.value)
            if config and argument and keyword.arg:
                found.setdefault(argument, (config, keyword.arg))
    return found


def objects(sources: Sources, module: str, owner: ast.ClassDef) -> dict[str, Found]:
    """Arguments that become an object which refuses unknown keys, and its class."""
    found: dict[str, Found] = {}
    for call in _calls(owner):
        for keyword in call.keywords:
            argument = _of_self(keyword.value)
            config = class_of(sources, module, named(call.func))
            if keyword.arg is None and argument and config and _is_closed(sources, *config, True):
                found[argument] = config
    for name, node in fields_of(owner).items():
        config = _only_class(sources, module, node.annotation)
        if config and name not in found and _is_closed(sources, *config, False):
            found[name] = config
    return found


def _calls(owner: ast.ClassDef) -> Iterator[ast.Call]:
    return (node for node in ast.walk(owner) if isinstance(node, ast.Call))


def _of_self(node: ast.AST) -> str:
    """``x`` of ``self.x``."""
    inner = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    return node.attr if inner and node.value.id == "self" else ""  # type: ignore[attr-defined]


def _only_class(sources: Sources, module: str, annotation: ast.AST | None) -> Found | None:
    """The one configuration class among the alternatives."""
    found = [
        config
        for origin, part in parts(sources, module, annotation)
        if (config := class_of(sources, origin, named(part))) and not _enumerates(config[1])
    ]
    return found[0] if len(found) == 1 else None


def _enumerates(definition: ast.ClassDef) -> bool:
    return any("Enum" in named(base) for base in definition.bases)


def _is_closed(sources: Sources, module: str, definition: ast.ClassDef, called: bool) -> bool:
    """Whether unknown keys are an error: pydantic ignores them unless it is told to forbid them,
    and a plain dataclass refuses them when it is called."""
    text = ast.unparse(definition)
    decorators = {
        named(node.func if isinstance(node, ast.Call) else node)
        for node in definition.decorator_list
    }
    if "extra='forbid'" in text or 'extra="forbid"' in text:
        return True
    if "config" in decorators:
        config = sources.find(module, "config")
        return config is not None and "forbid" in ast.unparse(config[1])
    imported = sources.module(module).imports.get("dataclass", ("dataclasses", ""))
    return called and "dataclass" in decorators and not imported[0].startswith("pydantic")


def fields_of(definition: ast.ClassDef) -> dict[str, ast.AnnAssign]:
    """The fields that may be given."""
    found = {}
    for node in definition.body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        said = {k.arg: k.value for k in getattr(node.value, "keywords", ())}
        closed = "init" in said and ast.unparse(said["init"]) == "False"
        hidden = node.target.id.startswith("_") or named(node.annotation) in ("ClassVar", "InitVar")
        if not closed and not hidden:
            found[node.target.id] = node
    return found


def refused(sources: Sources, home: tuple[Found, str]) -> dict[str, Any]:
    """Bounds and names that the field of a configuration class insists on."""
    (module, definition), name = home
    node = fields_of(definition).get(name)
    if node is None:
        return {}
    made: dict[str, Any] = {}
    for call in (n for n in ast.walk(node) if isinstance(n, ast.Call) and named(n.func) == "Field"):
        for keyword in call.keywords:
            bound = _BOUNDS.get(keyword.arg or "")
            value = default_of(sources, module, keyword.value) if bound else Missing
            if bound and value is not Missing:
                made[bound] = value
    return made


def enumeration(
    sources: Sources,
    module: str,
    annotation: ast.AST | None,
    home: tuple[Found, str] | None,
    text: str = "",
) -> dict[str, Any]:
    """The choices of an argument whose type is an enumeration: values, or names in any case.

    Args:
        text: The source of the class that has the argument.
    """
    for origin, part in parts(sources, module, annotation):
        found = class_of(sources, origin, named(part))
        if not found or not _enumerates(found[1]):
            continue
        members = [node for node in found[1].body if isinstance(node, ast.Assign)]
        if any(named(base) == "IntEnum" for base in found[1].bases):
            return {"choices": sorted(ast.literal_eval(node.value) for node in members)}
        if any(named(base) == "str" for base in found[1].bases):
            return {}
        values = [node.value for node in members]
        if _by_name(found[1].name, home, text):
            words = sorted(named(node.targets[0]) for node in members)
            return {"choices": [*words, *_extra_words(home)], "fold": True}
        if all(isinstance(v, ast.Constant) and isinstance(v.value, str) for v in values):
            return {"choices": sorted(ast.literal_eval(value) for value in values)}
    return {}


def _by_name(enum: str, home: tuple[Found, str] | None, text: str) -> bool:
    """Whether a member is looked up by its name, ``Enum[value.upper()]``, and not by its value."""
    functions = _validators(home[0][1], home[1]) if home else []
    return any(f"{enum}[" in said for said in (text, *map(ast.unparse, functions)))


def _extra_words(home: tuple[Found, str] | None) -> list[str]:
    """Words that a validator takes beside the names: ``if value.lower() == "auto": return …``."""
    found = []
    for function in _validators(home[0][1], home[1]) if home else ():
        for node in (n for n in ast.walk(function) if isinstance(n, ast.If)):
            test = node.test
            if isinstance(test, ast.Compare) and isinstance(node.body[0], ast.Return):
                found += [c.value for c in test.comparators if isinstance(c, ast.Constant)]
    return [str(word) for word in found]


def _validators(definition: ast.ClassDef, name: str) -> list[ast.FunctionDef]:
    """The functions that see a field's value before its type is checked."""
    found = []
    for node in definition.body:
        for decorator in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
            said = ast.unparse(decorator)
            before = "'before'" in said or "'wrap'" in said or "'plain'" in said
            about = f"'{name}'" in said or "'*'" in said
            if said.startswith("field_validator") and before and about:
                found.append(node)
    return found  # type: ignore[return-value]


def groups(sources: Sources, config: Found, depth: int = 0) -> dict[str, dict[str, Any]]:
    """Rows of an object's fields, under ``""``; objects within it by their dotted names."""
    module, definition = config
    rows: dict[str, Any] = {}
    found: dict[str, dict[str, Any]] = {"": rows}
    for name, node in fields_of(definition).items():
        rows[name] = _row(sources, config, name, node)
        inner = _only_class(sources, module, node.annotation)
        if inner and depth < _DEPTH and _is_closed(sources, *inner, False):
            nested = groups(sources, inner, depth + 1)
            found |= {f".{name}{path}": fields for path, fields in nested.items()}
    return found


def _row(sources: Sources, config: Found, name: str, node: ast.AnnAssign) -> dict[str, Any]:
    module, definition = config
    home = (config, name)
    names = enumeration(sources, module, node.annotation, home)
    if _validators(definition, name) or names:
        # What a validator turns into something else first can have any type.
        return {"types": ["any"]}
    types, choices = json_types(sources, module, node.annotation)
    plain = types - {"choice"}
    of_choices = {type(choice).__name__ for choice in choices}
    row: dict[str, Any] = {"types": sorted(plain | of_choices) or ["any"]}
    if nulls(sources, module, node.annotation):
        row["null"] = True
    if choices and not plain:
        row["choices"] = sorted(choices, key=lambda c: (isinstance(c, str), c))
    return row | refused(sources, home)

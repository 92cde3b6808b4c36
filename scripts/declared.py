"""What the classes of Python sources declare: fields, their types, values and defaults.

Read with :mod:`ast`, never imported; aliases and bases are followed as far as the sources go.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any

_PLAIN = {
    "bool": "bool", "int": "int", "float": "float", "str": "str", "Path": "str", "list": "list",
    "List": "list", "Set": "list", "set": "list", "Tuple": "list", "dict": "dict", "Dict": "dict",
    "NonNegativeInt": "int", "PositiveInt": "int", "NonNegativeFloat": "float", "Any": "any",
}  # fmt: skip
_UNIONS = {"Optional", "Union", "Annotated"}


@dataclass
class Annotation:
    """What an annotation takes: JSON types, values, null, and the classes of objects."""

    types: set[str] = field(default_factory=set)
    choices: list[Any] = field(default_factory=list)
    null: bool = False
    classes: list[str] = field(default_factory=list)


class Sources:
    """The classes and type aliases of some modules."""

    def __init__(self, texts: list[str]) -> None:
        self.names: dict[str, ast.AST] = {}
        for text in texts:
            for node in ast.parse(text).body:
                if isinstance(node, ast.ClassDef):
                    self.names[node.name] = node
                elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    self.names[node.target.id] = node.value or node.annotation

    def lineage(self, name: str) -> list[ast.ClassDef]:
        """A class and its bases, the base first."""
        found = self.names.get(name)
        if not isinstance(found, ast.ClassDef):
            return []
        bases = [node for base in found.bases for node in self.lineage(name_of(base))]
        return [*bases, found]

    def fields(self, name: str) -> dict[str, ast.AnnAssign]:
        """The fields that a model takes, those of its bases too."""
        found: dict[str, ast.AnnAssign] = {}
        for definition in self.lineage(name):
            for node in definition.body:
                if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
                    continue
                private = node.target.id.startswith("_") or name_of(node.annotation) == "ClassVar"
                if private or keyword_of(node, "init") is False:
                    found.pop(node.target.id, None)
                else:
                    found[node.target.id] = node
        return found

    def annotation(self, node: ast.AST | None, into: Annotation | None = None) -> Annotation:
        """What ``node`` takes, aliases followed."""
        found = into or Annotation()
        for part in _alternatives(node):
            name = name_of(part)
            if isinstance(part, ast.Constant) and part.value is None:
                found.null = True
            elif name == "Literal" and isinstance(part, ast.Subscript):
                found.choices += (
                    ast.literal_eval(part.slice)
                    if isinstance(part.slice, ast.Tuple)
                    else [ast.literal_eval(part.slice)]
                )
            elif name in _PLAIN:
                found.types.add(_PLAIN[name])
            elif name == "object":
                found.types.add("object")
            else:
                self._named(name, found)
        return found

    def _named(self, name: str, found: Annotation) -> None:
        definition = self.names.get(name)
        if definition is None:
            return  # a class of another module: nothing that YAML could hold
        if not isinstance(definition, ast.ClassDef):
            self.annotation(definition, found)
        elif any("Enum" in name_of(base) for base in definition.bases):
            found.choices += _members(definition)
        else:
            found.classes.append(name)


def _alternatives(node: ast.AST | None) -> list[ast.AST]:
    if node is None:
        return []
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _alternatives(ast.parse(node.value, mode="eval").body)
    if isinstance(node, ast.BinOp):
        return [*_alternatives(node.left), *_alternatives(node.right)]
    if isinstance(node, ast.Subscript) and name_of(node) in _UNIONS:
        items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        items = items[:1] if name_of(node) == "Annotated" else items
        parts = [part for item in items for part in _alternatives(item)]
        return [*parts, ast.Constant(None)] if name_of(node) == "Optional" else parts
    return [node]


def _members(definition: ast.ClassDef) -> list[Any]:
    """An enumeration as it is written: values when they are text, else the members' names."""
    pairs = [
        (name_of(node.targets[0]), ast.literal_eval(node.value))
        for node in definition.body
        if isinstance(node, ast.Assign)
    ]
    return [value if isinstance(value, str) else name for name, value in pairs]


def aliases(node: ast.AnnAssign) -> list[str]:
    """The names of its ``validation_alias``, none when a field goes by its own."""
    for keyword in node.value.keywords if isinstance(node.value, ast.Call) else ():
        if keyword.arg == "validation_alias" and isinstance(keyword.value, ast.Call):
            return [ast.literal_eval(item) for item in keyword.value.args]
    return []


def keyword_of(node: ast.AnnAssign, name: str) -> Any:
    """The literal value of a keyword of ``Field(…)``, ``...`` when it has none."""
    for keyword in node.value.keywords if isinstance(node.value, ast.Call) else ():
        if keyword.arg == name:
            try:
                return ast.literal_eval(keyword.value)
            except ValueError:
                return ...
    return ...


def default_of(node: ast.AnnAssign) -> Any:
    """A field's default where it is a plain value, ``...`` where not."""
    if isinstance(node.value, ast.Call):
        found = keyword_of(node, "default")
    else:
        try:
            found = ast.literal_eval(node.value) if node.value else ...
        except ValueError:
            found = ...
    return found if found is None or isinstance(found, bool | int | float | str) else ...


def name_of(node: ast.AST) -> str:
    """The last name of an annotation or a base: ``List`` of ``typing.List[int]``; else empty."""
    if isinstance(node, ast.Subscript):
        return name_of(node.value)
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""

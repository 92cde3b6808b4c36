"""Reading type annotations and defaults out of a wheel's sources, with :mod:`ast` alone."""

from __future__ import annotations

import ast
import zipfile
from dataclasses import dataclass, field
from functools import cache
from typing import Any

Missing = object()

_PLAIN = {
    "bool": "bool",
    "int": "int",
    "float": "float",
    "str": "str",
    "list": "list",
    "List": "list",
    "tuple": "list",
    "Tuple": "list",
    "set": "list",
    "Set": "list",
    "Sequence": "list",
    "dict": "dict",
    "Dict": "dict",
    "Mapping": "dict",
    "Any": "any",
    "object": "any",
}
_UNIONS = {"Optional", "Union", "Annotated", "ClassVar", "Final"}


@dataclass
class Module:
    """A parsed module: its top-level names, and what it imports from where."""

    name: str
    definitions: dict[str, ast.AST] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)


class Sources:
    """The Python modules of a wheel."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._names = set(archive.namelist())
        self.module = cache(self._module)

    def _module(self, dotted: str) -> Module:
        """Parse ``dotted``. Raises KeyError when the wheel has no such module."""
        base = dotted.replace(".", "/").removesuffix("/__init__")
        candidates = (f"{base}.py", f"{base}/__init__.py")
        path = next((path for path in candidates if path in self._names), "")
        if not path:
            raise KeyError(dotted)
        package = dotted if path.endswith("__init__.py") else dotted.rpartition(".")[0]
        module = Module(dotted)
        _collect(ast.parse(self._archive.read(path)).body, package, module)
        return module

    def below(self, dotted: str) -> list[str]:
        """The modules of a package, at any depth."""
        folder = dotted.replace(".", "/") + "/"
        paths = [name for name in self._names if name.startswith(folder) and name.endswith(".py")]
        return sorted(path.removesuffix(".py").replace("/", ".") for path in paths)

    def find(self, dotted: str, name: str, depth: int = 0) -> tuple[str, ast.AST] | None:
        """The definition of ``name`` as seen from module ``dotted``, imports followed."""
        if depth > 8 or not dotted.startswith("vllm"):
            return None
        try:
            module = self.module(dotted)
        except KeyError:
            return None
        if name in module.imports:
            origin, original = module.imports[name]
            found = self.find(origin, original, depth + 1)
            if found:
                return found
        if name in module.definitions:
            return dotted, module.definitions[name]
        return None


def _collect(body: list[ast.stmt], package: str, module: Module) -> None:
    for node in body:
        if isinstance(node, ast.ImportFrom):
            origin = _absolute(node, package)
            for alias in node.names:
                module.imports[alias.asname or alias.name] = (origin, alias.name)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            module.definitions[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            module.definitions[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            module.definitions[node.target.id] = node.value
        elif isinstance(node, ast.If):  # TYPE_CHECKING: its branch knows more than the other
            _collect(node.orelse, package, module)
            _collect(node.body, package, module)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parents = package.split(".")
    kept = parents[: len(parents) - node.level + 1]
    return ".".join([*kept, *([node.module] if node.module else [])])


def json_types(sources: Sources, module: str, node: ast.AST | None) -> tuple[set[str], set[Any]]:
    """JSON types an annotation takes, and the values of its Literals (marked ``choice``)."""
    types: set[str] = set()
    choices: set[Any] = set()
    for part_module, part in parts(sources, module, node):
        if isinstance(part, ast.Subscript) and named(part.value) == "Literal":
            choices.update(literal_values(sources, part_module, part.slice))
            types.add("choice")
        else:
            types.update(_named_type(sources, part_module, part))
    choices.discard(None)
    return types, choices


def nulls(sources: Sources, module: str, node: ast.AST | None) -> bool:
    """Whether None is among the alternatives."""
    for part_module, part in parts(sources, module, node):
        if isinstance(part, ast.Constant) and part.value is None:
            return True
        literal = isinstance(part, ast.Subscript) and named(part.value) == "Literal"
        if literal and None in literal_values(sources, part_module, part.slice):  # type: ignore[attr-defined]
            return True
    return False


def literal_values(sources: Sources, module: str, node: ast.AST) -> set[Any]:
    """The values between the brackets of a Literal; one Literal may name another."""
    if isinstance(node, ast.Tuple):
        return {v for item in node.elts for v in literal_values(sources, module, item)}
    if isinstance(node, ast.Constant):
        return {node.value}
    found = sources.find(module, named(node))
    if found and isinstance(found[1], ast.Subscript):
        return literal_values(sources, found[0], found[1].slice)
    raise ValueError(f"{module}: a Literal holds {ast.dump(node)}")


def parts(
    sources: Sources, module: str, node: ast.AST | None, depth: int = 0
) -> list[tuple[str, ast.AST]]:
    """The alternatives of a union, aliases of the wheel followed."""
    if node is None or depth > 12:
        return []
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return parts(sources, module, ast.parse(node.value, mode="eval").body, depth + 1)
    if isinstance(node, ast.BinOp):
        both = (node.left, node.right)
        return [part for side in both for part in parts(sources, module, side, depth + 1)]
    if isinstance(node, ast.Subscript) and named(node.value) in _UNIONS:
        items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if named(node.value) == "Annotated":
            items = items[:1]
        return [part for item in items for part in parts(sources, module, item, depth + 1)]
    if isinstance(node, ast.Name) and node.id not in _PLAIN:
        found = sources.find(module, node.id)
        if found and not isinstance(found[1], ast.ClassDef):
            return parts(sources, *found, depth + 1)
    return [(module, node)]


def _named_type(sources: Sources, module: str, node: ast.AST) -> set[str]:
    if isinstance(node, ast.Constant) and node.value is None:
        return set()
    name = named(node.value if isinstance(node, ast.Subscript) else node)
    if name in _PLAIN:
        return {_PLAIN[name]}
    found = sources.find(module, name)
    if found and isinstance(found[1], ast.ClassDef):
        bases = {named(base) for base in found[1].bases}
        if any("Enum" in base for base in bases):
            return {"int"} if "IntEnum" in bases else {"str"}
        return {"dict"}
    # Types, classes and callables cannot stand in JSON; unknown configs come as objects.
    return set() if name in {"type", "Type", "Callable", "dtype"} else {"any"}


def named(node: ast.AST) -> str:
    """The last part of a name, empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def default_of(sources: Sources, module: str, node: ast.AST | None, depth: int = 0) -> Any:
    """The default when it is a literal of JSON's types, else :data:`Missing`."""
    if node is None or depth > 6:
        return Missing
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        value = Missing
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return _class_default(sources, module, node.value.id, node.attr, depth)
    if isinstance(node, ast.Call):
        return _call_default(sources, module, node, depth)
    return Missing


def _call_default(sources: Sources, module: str, node: ast.Call, depth: int) -> Any:
    """``get_field(Config, "name")`` and ``field(default=…)``."""
    if named(node.func) == "get_field" and isinstance(node.args[1], ast.Constant):
        return _class_default(sources, module, named(node.args[0]), node.args[1].value, depth)
    for keyword in node.keywords:
        if keyword.arg == "default":
            return default_of(sources, module, keyword.value, depth + 1)
    if named(node.func) == "Field" and node.args:
        return default_of(sources, module, node.args[0], depth + 1)
    return Missing


def _class_default(sources: Sources, module: str, owner: str, name: str, depth: int) -> Any:
    found = sources.find(module, owner)
    if not found or not isinstance(found[1], ast.ClassDef):
        return Missing
    for field_node in found[1].body:
        if isinstance(field_node, ast.AnnAssign) and named(field_node.target) == name:
            return default_of(sources, found[0], field_node.value, depth + 1)
    return Missing

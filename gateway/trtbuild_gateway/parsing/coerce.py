"""Give arguments that were written as plain text the types of a tool's schema."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trtbuild_gateway.parsing.literals import LiteralReader, Style

_DEPTH = 8
_TYPES = {
    "int": "integer",
    "float": "number",
    "str": "string",
    "bool": "boolean",
    "dict": "object",
    "list": "array",
}
_ORDER = ("null", "boolean", "integer", "number", "object", "array")


class Tools:
    """The tools of a request, in any of the forms in which clients send them."""

    def __init__(self, tools: Iterable[Mapping[str, Any]] = ()) -> None:
        self._schemas: dict[str, Mapping[str, Any]] = {}
        for tool in tools:
            inner = tool.get("function")
            row = inner if isinstance(inner, Mapping) else tool
            schema = row.get("parameters") or row.get("input_schema") or {}
            if isinstance(name := row.get("name"), str):
                self._schemas[name] = schema if isinstance(schema, Mapping) else {}

    def __contains__(self, name: object) -> bool:
        return name in self._schemas

    def __bool__(self) -> bool:
        return bool(self._schemas)

    def types(self, tool: str, argument: str) -> frozenset[str]:
        """Return the types that an argument may have; none if the schema is silent."""
        schema = self._schemas.get(tool, {})
        properties = schema.get("properties")
        declared = properties.get(argument) if isinstance(properties, Mapping) else None
        if declared is None:
            declared = schema.get("additionalProperties")
        return frozenset(_types(declared, schema, 0))


def _types(declared: Any, root: Mapping[str, Any], depth: int) -> Iterable[str]:
    if not isinstance(declared, Mapping) or depth > _DEPTH:
        return
    kinds = declared.get("type")
    for kind in [kinds] if isinstance(kinds, str) else kinds or ():
        if isinstance(kind, str):
            yield _TYPES.get(kind, kind)
    if declared.get("nullable") is True:
        yield "null"
    if not kinds:
        values = declared.get("enum") or ([declared["const"]] if "const" in declared else [])
        yield from map(_type_of, values if isinstance(values, Sequence) else ())
    for name in ("anyOf", "oneOf", "allOf"):
        for one in declared.get(name) or ():
            yield from _types(one, root, depth + 1)
    if isinstance(reference := declared.get("$ref"), str):
        yield from _types(_resolve(reference, root), root, depth + 1)


def _resolve(reference: str, root: Mapping[str, Any]) -> Any:
    if not reference.startswith("#/"):
        return None
    at: Any = root
    for key in reference[2:].split("/"):
        at = at.get(key) if isinstance(at, Mapping) else None
    return at


def _type_of(value: object) -> str:
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return _TYPES[kind.__name__]
    return "null" if value is None else "array" if isinstance(value, list) else "object"


def coerce(text: str, types: frozenset[str]) -> Any:
    """Return the value that a text stands for; the text itself if no type fits."""
    word = text.strip()
    for kind in _ORDER:
        if kind in types:
            value = _READERS[kind](word)
            if value is not _NO:
                return value
    return text


def loose(text: str) -> Any:
    """Return the value of a text that is JSON or nearly so; the text itself if it is not."""
    for kind in ("number", "boolean", "null", "object", "array"):
        value = _READERS[kind](text.strip())
        if value is not _NO:
            return value
    return text


_NO = object()


def _null(word: str) -> object:
    return None if word in ("null", "None", "nil") else _NO


def _boolean(word: str) -> object:
    return {"true": True, "false": False}.get(word.lower(), _NO)


def _integer(word: str) -> object:
    value = _number(word)
    if isinstance(value, float):
        return int(value) if value.is_integer() else _NO
    return value


def _number(word: str) -> object:
    try:
        return int(word)
    except ValueError:
        pass
    try:
        value = float(word)
    except ValueError:
        return _NO
    return value if math.isfinite(value) else _NO


def _object(word: str) -> object:
    return _nested(word, dict)


def _array(word: str) -> object:
    return _nested(word, list)


def _nested(word: str, kind: type) -> object:
    if not word.startswith("{" if kind is dict else "["):
        return _NO
    try:
        value = json.loads(word, strict=False)
    except (ValueError, RecursionError):
        try:
            reader = LiteralReader(word, Style())
            value = reader.value()
            reader.space()
        except ValueError:
            return _NO
        if reader.at != len(word):
            return _NO
    return value if isinstance(value, kind) else _NO


_READERS = {
    "null": _null,
    "boolean": _boolean,
    "integer": _integer,
    "number": _number,
    "object": _object,
    "array": _array,
}

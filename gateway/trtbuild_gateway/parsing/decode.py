"""Turn the text of a region into calls of tools."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from trtbuild_gateway.parsing.coerce import Tools, coerce, loose
from trtbuild_gateway.parsing.family import Region
from trtbuild_gateway.parsing.literals import LiteralReader, Style


class Call(NamedTuple):
    """A call as the model wrote it; ``id`` is empty if it wrote none."""

    name: str
    arguments: Mapping[str, Any]
    id: str = ""


def decode(raw: str, region: Region, tools: Tools) -> list[Call]:
    """Return the calls in a region, from its opening marker up to its closing one.

    Raises:
        ValueError: If there is no valid call.
    """
    try:
        calls = _DECODERS[region.format](raw, region, tools)
    except RecursionError:
        raise ValueError("too many levels") from None
    if not calls:
        raise ValueError("no call")
    for call in calls:
        if region.known and call.name not in tools:
            raise ValueError(f"no tool {call.name!r} was offered")
    return calls


def dump(arguments: Mapping[str, Any]) -> str:
    """Write arguments as JSON that can be encoded as UTF-8.

    Raises:
        ValueError: If they hold a number that JSON does not have.
    """
    text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return json.dumps(arguments, allow_nan=False)
    return text


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is out of range")
    return value


def load(text: str) -> Any:
    """Read JSON as models write it: line breaks may stand in strings.

    Raises:
        ValueError: It is not JSON, or has a number that JSON does not have.
    """
    return json.loads(text, strict=False, parse_constant=_no_constant, parse_float=_float)


def _arguments(value: Any) -> Mapping[str, Any]:
    """Return an object of arguments, which some models write as a string with JSON."""
    if isinstance(value, str):
        value = load(value) if value.strip() else {}
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise ValueError("the arguments are not an object")
    return value


def _after_open(raw: str, region: Region) -> str:
    for text in region.open:
        if raw.startswith(text):
            return raw[len(text) :]
    return raw


def _json_rows(text: str) -> Iterator[Any]:
    """Yield the JSON values of a text, which white space, commas and semicolons may separate."""
    decoder = json.JSONDecoder(strict=False, parse_constant=_no_constant, parse_float=_float)
    at, text = 0, text.strip()
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        yield from value if isinstance(value, list) else [value]
        while at < len(text) and text[at] in " \t\r\n,;":
            at += 1


def _json(raw: str, region: Region, tools: Tools) -> list[Call]:  # noqa: ARG001
    """``{"name": …, "arguments": {…}}``, or a list of them."""
    return [call_of(row) for row in _json_rows(_after_open(raw, region))]


def call_of(row: Any) -> Call:
    """Return the call that an object of JSON describes.

    Raises:
        ValueError: It describes none.
    """
    if isinstance(row, dict) and isinstance(inner := row.get("function"), dict):
        row = {**inner, "id": row.get("id")}
    if not isinstance(row, dict):
        raise ValueError("a call is an object")
    name = next((row[key] for key in ("name", "tool_name", "function") if key in row), None)
    if not isinstance(name, str) or not name:
        raise ValueError("a call has a name")
    keys = ("arguments", "parameters", "args", "input")
    arguments = next((row[key] for key in keys if key in row), None)
    own = row.get("id") or row.get("tool_call_id")
    return Call(name, _arguments(arguments), own if isinstance(own, str) else "")


def _name(raw: str, region: Region) -> re.Match[str]:
    found = region.name.match(raw) if region.name else None
    if found is None or not found["name"].strip():
        raise ValueError("the call has no name")
    return found


def _own_id(found: re.Match[str]) -> str:
    return str(found.groupdict().get("id") or "").strip()


def _named_json(raw: str, region: Region, tools: Tools) -> list[Call]:
    """A name in a format of its own, then ``{…}``; or what ``_json`` reads."""
    if region.name is not None and region.name.match(raw) is None:
        return _json(raw, region, tools)
    found = _name(raw, region)
    body = raw[found.end() :].strip()
    for text in region.end:
        body = body.removesuffix(text).strip()
    return [Call(found["name"].strip(), _arguments(load(body) if body else {}), _own_id(found))]


def _tags(raw: str, region: Region, tools: Tools) -> list[Call]:
    """A name, then arguments between tags, as plain text."""
    found = _name(raw, region)
    name = found["name"].strip()
    opened = list(region.argument.finditer(raw, found.end())) if region.argument else []
    arguments: dict[str, Any] = {}
    between = raw[found.end() : opened[0].start() if opened else len(raw)]
    if not opened and "".join(between.split()) not in ("", ">", "/>"):
        # Without any tag: some models fall back to JSON.
        if between.lstrip()[:1] != "{":
            raise ValueError("the call has text but no arguments")
        return [Call(name, _arguments(load(between)), _own_id(found))]
    for this, following in zip(opened, [*opened[1:], None], strict=False):
        text = raw[this.end() : following.start() if following else len(raw)]
        text = _trimmed(text, region)
        key = (html.unescape(this["key"]) if region.escapes else this["key"]).strip()
        kind = this.groupdict().get("type")
        if kind is not None:
            arguments[key] = text if kind in region.raw else loose(text)
        else:
            types = tools.types(name, key)
            arguments[key] = coerce(text, types) if types else text
    return [Call(name, arguments, _own_id(found))]


def _trimmed(text: str, region: Region) -> str:
    bare = text.rstrip()
    for end in region.end:
        if bare.endswith(end):
            text = bare.removesuffix(end)
            break
    if region.newlines:
        text = text.removeprefix("\n").removesuffix("\n")
    return text


_FUNCTION = re.compile(r"[A-Za-z_][\w.\-]*")


def _calls(raw: str, region: Region, tools: Tools) -> list[Call]:  # noqa: ARG001
    """Calls as Python writes them: ``[f(a=1), g()]``, or one a line."""
    text = _after_open(raw, region)
    reader = LiteralReader(text, Style())
    listed = reader.accept("[")
    found: list[Call] = []
    while not (listed and reader.accept("]")):
        reader.space()
        if reader.at == len(text):
            break
        found.append(_python_call(reader))
        reader.accept(",")
    reader.space()
    if reader.at != len(text):
        raise ValueError(f"text after the calls, at character {reader.at}")
    return found


def _python_call(reader: LiteralReader) -> Call:
    name = reader.word(_FUNCTION)
    arguments: dict[str, Any] = {}
    reader.expect("(")
    while not reader.accept(")"):
        key = reader.word()
        reader.expect("=")
        arguments[key] = reader.value()
        if not reader.accept(","):
            reader.expect(")")
            break
    return Call(name, arguments)


def _object(raw: str, region: Region, tools: Tools) -> list[Call]:  # noqa: ARG001
    """A name, then an object with bare keys and strings in quotes of the family's own."""
    found = _name(raw, region)
    reader = LiteralReader(raw, Style(region.strings, region.escape, bare_keys=True), found.end())
    reader.space()
    if not raw.startswith("{", reader.at):
        raise ValueError("the call has no object")
    value = reader.value()
    reader.space()
    if reader.at != len(raw):
        raise ValueError(f"text after the call, at character {reader.at}")
    return [Call(found["name"].strip(), value)]


_DECODERS: Mapping[str, Callable[[str, Region, Tools], list[Call]]] = {
    "json": _json,
    "named-json": _named_json,
    "tags": _tags,
    "calls": _calls,
    "object": _object,
}

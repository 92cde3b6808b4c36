"""Schema: config.pbtxt is text that this server's protobuf schema accepts."""

from __future__ import annotations

import contextlib
import difflib
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from typing import Any

from trtbuild import pbtxt
from trtbuild.check.context import PLACEHOLDER, Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import Example
from trtbuild.check.model import Severity
from trtbuild.located.positions import Node, Position
from trtbuild.resources import data_file
from trtbuild.wire.schema import pool


@rule(
    "TRT101",
    "config.pbtxt is a ModelConfig in protobuf's text format",
    fix="correct the line; field names are those of model_config.proto",
    mirrors="ReadTextProto",
    needs_config=False,
    bad='nmae: "m"',
    good='name: "m"',
)
def parses(model: Model) -> Problems:
    """The server reads config.pbtxt by protobuf's text format; one wrong field name, type or
    brace and the model is not loaded at all."""
    error = model.parse_error
    if error is not None:
        before, found = _around(model.text or "", error)
        placeholder = PLACEHOLDER.match(found)
        message, fix = _in_words(error.message, placeholder.group() if placeholder else found), ""
        if placeholder:
            fix = "replace it with the value"
        elif found.startswith(("]", "}")) and before.endswith(","):
            message, fix = f"there is a comma before the closing {found[0]}", "remove that comma"
        yield Problem(
            message,
            Position(error.line, error.column),
            server=f"failed to read text proto from {model.config_file}",
            fix=fix,
        )


def _around(text: str, error: pbtxt.PbtxtError) -> tuple[str, str]:
    """The text before the place of an error, without the space at its end, and the rest of the
    line."""
    lines = text.split("\n")[: max(error.line, 0)]
    if not lines:
        return "", ""
    at = max(error.column - 1, 0)
    return "\n".join((*lines[:-1], lines[-1][:at])).rstrip(), lines[-1][at:].rstrip()


_UNKNOWN = re.compile(
    r'(?:Message type|Enum type) "([\w.]+)" has no (field|value) named "?([^"\s]+?)"?\.?$'
)
_TWICE = re.compile(r'should not have multiple "(\w+)" fields')
# What protobuf's parser says after the line that it quotes, and what was meant.
_EXPECTED = (
    ("Couldn't parse integer", "expected a whole number here"),
    ("Couldn't parse float", "expected a number here"),
    ('Expected "true" or "false"', "expected true or false here"),
    ("Expected string", "expected a quoted string here"),
    ("Expected identifier", "expected a field name here"),
    ('Expected ":"', "expected a colon here"),
    ('Expected "{"', "expected a block in { } here"),
    ('Expected ","', "expected a comma or the closing ] here"),
)
_SHOWN = 40  # characters of what was found
# What clients, NumPy, PyTorch and C call Triton's data types.
_OTHER_NAMES = {
    "BYTES": "STRING", "STR": "STRING", "TEXT": "STRING", "CHAR": "INT8", "BYTE": "UINT8",
    "BOOLEAN": "BOOL", "SHORT": "INT16", "INT": "INT32", "INTEGER": "INT32", "LONG": "INT64",
    "HALF": "FP16", "FLOAT": "FP32", "DOUBLE": "FP64", "BFLOAT16": "BF16",
    **{f"FLOAT{bits}": f"FP{bits}" for bits in (16, 32, 64)},
}  # fmt: skip


def _in_words(message: str, text: str) -> str:
    """What is wrong, without the line that protobuf quotes: it is shown below anyway."""
    if match := _UNKNOWN.search(message):
        scope, kind, name = match.groups()
        near = _nearest_name(scope, name)
        hint = f"; did you mean {near!r}?" if near else ""
        return f"there is no {kind} {name!r} in {scope.rpartition('.')[2]}{hint}"
    if match := _TWICE.search(message):
        return f"{match.group(1)!r} is written twice"
    if "String missing ending quote" in message:
        return "the quotes are not closed in this line"
    if not text:
        return "the file or line ends here, and a bracket is still open or a value is missing"
    for said, expected in _EXPECTED:
        if said in message:
            return f"{expected}, not {_start(text)}"
    return message.rstrip(".")


def _nearest_name(scope: str, name: str) -> str:
    """The field of a message, or the value of an enum, most like ``name``; empty if none is near.

    ``scope`` is a full name such as ``inference.ModelInput`` or ``inference.DataType``.
    """
    names: list[str] = []
    try:
        names = list(pool().FindMessageTypeByName(scope).fields_by_name)
    except KeyError:
        with contextlib.suppress(KeyError):
            names = list(pool().FindEnumTypeByName(scope).values_by_name)
    meant = _OTHER_NAMES.get(name.upper().removeprefix("TYPE_"), "")
    if f"TYPE_{meant}" in names:
        return f"TYPE_{meant}"
    near = difflib.get_close_matches(name, names, n=1)
    return near[0] if near else ""


def _start(text: str) -> str:
    """The word, bracket or sign that a text begins with."""
    if text.startswith("${"):
        return f"the placeholder {text}"
    match = re.match(r'"[^"]*"?|[\w.+-]+|.', text)
    return (match.group() if match else text)[:_SHOWN]


@rule(
    "TRT102",
    "config.pbtxt can be read",
    fix="make it a UTF-8 text file that the server's user can read",
    mirrors="ReadTextFile",
    needs_config=False,
    bad={"m/config.pbtxt": None, "m/config.pbtxt/": ""},
    good='name: "m"',
)
def readable(model: Model) -> Problems:
    """The configuration is not a file, not readable, or not UTF-8 text. The server accepts the
    last, but its clients cannot read the configuration back."""
    if model.text is None and model.read_problem not in ("missing", "outside", "pointer"):
        yield Problem(f"config.pbtxt cannot be read: {model.read_problem}")
    for number, line in enumerate((model.text or "").splitlines(), start=1):
        if "\ufffd" in line:
            at = Position(number, line.index("\ufffd") + 1)
            yield Problem("a byte that is not UTF-8", at, severity=Severity.WARNING)
            return


@rule(
    "TRT103",
    "every field is known to the server's release",
    fix="remove the field, or deploy on the newer release",
    mirrors="ReadTextProto",
    bad=Example("model_metrics { }", triton="24.10"),
    good=Example("model_metrics { }", triton="24.11"),
)
def not_newer(model: Model) -> Problems:
    """A single field that the release does not know makes the whole file invalid."""
    if not model.triton or model.triton >= max(_since().values()):
        return
    for name, since, at in _dated(model.positions.root, model.config.DESCRIPTOR):
        if since > model.triton:
            yield Problem(
                f"{name!r} came with Triton {since}, but this model is for {model.triton}",
                at,
                server=f"failed to read text proto from {model.config_file}",
            )


def _dated(node: Node, message: Any) -> Iterator[tuple[str, str, Position]]:
    """Name, release and place of every field in a text that the table has."""
    for name, nodes in node.children.items():
        field = message.fields_by_name.get(name)
        if field is None:
            continue
        since = _since().get(field.full_name)
        for child in nodes:
            if since:
                yield name, since, child.name
            if field.message_type:
                yield from _dated(child, field.message_type)


@cache
def _since() -> dict[str, str]:
    return tomllib.loads(data_file("model_config_fields.toml").read_text(encoding="utf-8"))

"""The lines of a batch: what they ask, and the lines of its output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import msgspec

from trtbuild_batch.engine import Receipt

ENDPOINTS = (
    "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/rerank",
    "/v1/score", "/v1/classify",
)  # fmt: skip
_SHOWN = 20  # problems of one file


@dataclass(frozen=True, slots=True)
class Line:
    """One request: ``number`` counts from 0, and the file has it at the byte ``at``.

    The file keeps the body: those of a large batch are too much for the memory.
    """

    number: int
    custom_id: str
    at: int
    size: int


@dataclass(slots=True)
class Checked:
    """The lines of a file, and what is wrong with it."""

    lines: list[Line] = field(default_factory=list)
    problems: list[dict[str, Any]] = field(default_factory=list)


class _Body(msgspec.Struct):
    body: msgspec.Raw


def body_of(stream: BinaryIO, line: Line) -> bytes:
    """Return the body of a line of a checked file."""
    stream.seek(line.at)
    return bytes(msgspec.json.decode(stream.read(line.size), type=_Body).body)


def check(stream: Iterable[bytes], endpoint: str, most: int) -> Checked:
    """Read the lines of an input file for one endpoint, ``most`` at most.

    Empty lines are allowed, though no more than others: a file may have nothing else.
    """
    found = Checked()
    seen: set[str] = set()
    at = 0
    for number, text in enumerate(stream):
        if text.strip() and (name := _name_of(found, seen, number, text, endpoint)) is not None:
            seen.add(name)
            found.lines.append(Line(len(found.lines), name, at, len(text)))
        at += len(text)
        if len(found.lines) > most or number >= 2 * most:
            _problem(found, "too_many_requests", None, f"the file has more than {most:,} lines")
            break
        if len(found.problems) >= _SHOWN:
            break
    if not found.lines and not found.problems:
        _problem(found, "empty_file", None, "the file has no lines")
    return found


def _name_of(found: Checked, seen: set[str], number: int, text: bytes, endpoint: str) -> str | None:
    """Return the custom_id of a line; None, with a problem noted, if something is wrong with it."""
    try:
        row = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _problem(found, "invalid_json_line", number, f"the line is not JSON: {error}")
        return None
    row = row if isinstance(row, dict) else {}
    name, body = row.get("custom_id"), row.get("body")
    if not isinstance(name, str) or not name:
        _problem(found, "missing_required_parameter", number, "custom_id is missing", "custom_id")
    elif name in seen:
        _problem(found, "duplicate_custom_id", number, f"{name!r} is there twice", "custom_id")
    elif row.get("method") != "POST":
        _problem(found, "invalid_method", number, "method is not POST", "method")
    elif row.get("url") != endpoint:
        _problem(found, "mismatched_endpoint", number, f"url is not {endpoint}", "url")
    elif not isinstance(body, dict):
        _problem(found, "missing_required_parameter", number, "body is not an object", "body")
    elif body.get("stream"):
        _problem(found, "invalid_parameter", number, "a batch has no streams", "body.stream")
    else:
        return name
    return None


def _problem(
    found: Checked, code: str, number: int | None, message: str, param: str | None = None
) -> None:
    if len(found.problems) < _SHOWN:
        line = None if number is None else number + 1
        found.problems.append({"code": code, "line": line, "message": message, "param": param})


def results(
    batch: str, lines: Sequence[Line], done: Iterable[tuple[int, Receipt]], *, good: bool
) -> Iterator[bytes]:
    """Yield the lines of the output file, or of the error file, in the order of ``done``."""
    for number, receipt in done:
        if (receipt.outcome is not None) != good:
            continue
        name = f"{batch}_{number}"
        value: dict[str, Any] = {"id": name, "custom_id": lines[number].custom_id}
        if receipt.outcome is not None:
            body = msgspec.Raw(str(receipt.outcome.output).encode())
            value |= {"response": {"status_code": 200, "request_id": name, "body": body}}
            value |= {"error": None}
        else:
            value |= {"response": None}
            value |= {"error": {"code": receipt.kind, "message": receipt.error}}
        yield msgspec.json.encode(value) + b"\n"

"""The lines of a batch: what they ask, and the lines of its output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from trtbuild_batch.engine import Receipt

ENDPOINTS = (
    "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/rerank",
    "/v1/score", "/v1/classify",
)  # fmt: skip
_SHOWN = 20  # problems of one file


@dataclass(frozen=True, slots=True)
class Line:
    """One request: ``number`` counts from 0."""

    number: int
    custom_id: str
    body: bytes


@dataclass(slots=True)
class Checked:
    """The lines of a file, and what is wrong with it."""

    lines: list[Line] = field(default_factory=list)
    problems: list[dict[str, Any]] = field(default_factory=list)


def check(content: bytes, endpoint: str, most: int) -> Checked:
    """Read the lines of an input file for one endpoint, ``most`` at most."""
    found = Checked()
    seen: set[str] = set()
    for number, text in enumerate(content.splitlines()):
        if text.strip():
            _check_line(found, seen, number, text, endpoint)
    if not found.lines and not found.problems:
        _problem(found, "empty_file", None, "the file has no lines")
    if len(found.lines) > most:
        _problem(found, "too_many_requests", None, f"the file has more than {most:,} lines")
    return found


def _check_line(found: Checked, seen: set[str], number: int, text: bytes, endpoint: str) -> None:
    try:
        row = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _problem(found, "invalid_json_line", number, f"the line is not JSON: {error}")
        return
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
        _problem(found, "missing_required_parameter", number, "body is no object", "body")
    elif body.get("stream"):
        _problem(found, "invalid_parameter", number, "a batch has no streams", "body.stream")
    else:
        seen.add(name)
        found.lines.append(Line(len(found.lines), name, msgspec.json.encode(body)))


def _problem(
    found: Checked, code: str, number: int | None, message: str, param: str | None = None
) -> None:
    if len(found.problems) < _SHOWN:
        line = None if number is None else number + 1
        found.problems.append({"code": code, "line": line, "message": message, "param": param})


def results(
    batch: str, lines: Sequence[Line], done: dict[int, Receipt], *, good: bool
) -> Iterator[bytes]:
    """Yield the lines of the output file, or of the error file."""
    for line in lines:
        receipt = done.get(line.number)
        if receipt is None or (receipt.outcome is not None) != good:
            continue
        name = f"{batch}_{line.number}"
        value: dict[str, Any] = {"id": name, "custom_id": line.custom_id}
        if receipt.outcome is not None:
            body = msgspec.Raw(str(receipt.outcome.output).encode())
            value |= {"response": {"status_code": 200, "request_id": name, "body": body}}
            value |= {"error": None}
        else:
            value |= {"response": None}
            value |= {"error": {"code": receipt.kind, "message": receipt.error}}
        yield msgspec.json.encode(value) + b"\n"

"""What a model is asked: texts, pairs, queries, images, recordings; from arguments or a file."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtbuild.errors import UsageError
from trtbuild.signature import ServedTask
from trtbuild.wire.sound import SoundError, as_wav

STDIN = Path("-")
_JSON_LINES = (".jsonl", ".ndjson", ".json")
_LINE = (
    "a line is a text, or a JSON object with {keys} and, if wanted, id; blank lines are left out"
)
_KEYS = {
    ServedTask.RERANK: "query and documents",
    ServedTask.IMAGE_CLASSIFY: "image (a file's path)",
    ServedTask.TRANSCRIBE: "audio (a file's path)",
}
_PAIRED = (ServedTask.CLASSIFY, ServedTask.SCORE)
_MAX_FILE = 100_000_000


@dataclass(frozen=True, slots=True)
class Item:
    """One row of a request.

    Attributes:
        value: A text or a pair; for a reranker the query and its documents (empty: those of the
            options); for images and recordings the base64 text of the file.
        where: File and line, empty for an argument.
        id: What the file calls it, None without a name.
        images: Of a prompt: the base64 text of its own image files; empty: those of the options.
    """

    value: Any
    where: str = ""
    id: Any = None
    images: tuple[str, ...] = ()


def read_items(path: Path, task: ServedTask) -> list[Item]:
    """Read the items of a file; ``-`` is standard input.

    Raises:
        UsageError: It cannot be read, is empty, or a line is not an item (the error has its
            number).
    """
    fix = _LINE.format(keys=_keys(task))
    return [
        Item(_value(row, task, where, fix), where, _id(row), _images(row, task, where, fix))
        for where, row in _rows(path, fix)
    ]


def read_documents(path: Path) -> tuple[str, ...]:
    """Read a reranker's documents: a text in each line, or JSON Lines of texts or objects with
    ``text`` and, if wanted, ``title``.

    Raises:
        UsageError: As :func:`read_items`.
    """
    fix = _LINE.format(keys="text")
    return tuple(_document(row, where, fix) for where, row in _rows(path, fix))


def file_text(path: str, where: str = "") -> str:
    """Return the base64 text of a file.

    Raises:
        UsageError: It cannot be read, is empty, or larger than 100 MB.
    """
    try:
        size = Path(path).stat().st_size
        content = Path(path).read_bytes() if size <= _MAX_FILE else b""
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read {path}: {error}", where=where, fix="give the path of a file"
        ) from None
    if not content:
        what = "is empty" if not size else f"has {size // 1_000_000} MB"
        raise UsageError(f"{path} {what}", where=where, fix="give a file of at most 100 MB")
    return base64.b64encode(content).decode()


def audio_text(path: str, where: str = "") -> str:
    """Return the base64 text of a recording as a WAV file.

    Raises:
        UsageError: As :func:`file_text`, or it is not a recording that can be read here.
    """
    text = file_text(path, where)
    try:
        return base64.b64encode(as_wav(base64.b64decode(text), "trtbuild")).decode()
    except SoundError as error:
        what, _, fix = str(error).partition(": ")
        raise UsageError(f"{path}: {what}", where=where, fix=fix) from None


READERS = {ServedTask.IMAGE_CLASSIFY: file_text, ServedTask.TRANSCRIBE: audio_text}
"""What reads the files of a task that takes no texts."""


def _rows(path: Path, fix: str) -> Iterator[tuple[str, Any]]:
    """Yield file and line, and what the line has: text, or a parsed JSON value."""
    name = "standard input" if path == STDIN else str(path)
    try:
        content = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
        text = content.decode("utf-8-sig")  # a byte order mark is not text
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {name}: {error}", fix="give a UTF-8 text file") from None
    # Split at line feeds only: JSON may contain other separators (U+2028, U+0085) unescaped.
    lines = [(at, one.rstrip("\r")) for at, one in enumerate(text.split("\n"), 1) if one.strip()]
    if not lines:
        raise UsageError(f"there is nothing in {name}", fix=fix)
    is_json = path.suffix in _JSON_LINES or lines[0][1].lstrip().startswith("{")
    for number, line in lines:
        where = f"{name}:{number}"
        yield where, _parsed(line, where, fix) if is_json else line


def _parsed(line: str, where: str, fix: str) -> Any:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"not JSON: {error}", where=where, fix=fix) from None
    if not isinstance(value, str | dict):
        raise UsageError("neither a text nor an object", where=where, fix=fix)
    return value


def _keys(task: ServedTask) -> str:
    if task.makes_text:
        return "prompt, image (a file's path, or a list of them) or both"
    return _KEYS.get(task, "text and, for pairs, text_pair" if task in _PAIRED else "text")


def _value(row: Any, task: ServedTask, where: str, fix: str) -> Any:
    files = {ServedTask.IMAGE_CLASSIFY: "image", ServedTask.TRANSCRIBE: "audio"}
    if task in files:
        return READERS[task](_string(row, where, fix, files[task]), where)
    if task is ServedTask.RERANK:
        query = _string(row, where, fix, "query", "text")
        listed = row.get("documents", ()) if isinstance(row, dict) else ()
        if not isinstance(listed, Sequence) or isinstance(listed, str):
            raise UsageError("'documents' is not a list", where=where, fix=fix)
        return query, tuple(_document(one, where, fix) for one in listed)
    texts = ("text", "prompt", "input")
    if (
        task.makes_text
        and isinstance(row, dict)
        and "image" in row
        and row.keys().isdisjoint(texts)
    ):
        return ""  # a named task has a prompt of its own
    text = _string(row, where, fix, *texts)
    if task in _PAIRED and isinstance(row, dict) and "text_pair" in row:
        return text, _string(row, where, fix, "text_pair")
    return text


def _images(row: Any, task: ServedTask, where: str, fix: str) -> tuple[str, ...]:
    """The images of a prompt."""
    if not (task.makes_text and isinstance(row, dict) and "image" in row):
        return ()
    listed = row["image"] if isinstance(row["image"], list) else [row["image"]]
    return tuple(file_text(_string(one, where, fix, "image"), where) for one in listed)


def _document(row: Any, where: str, fix: str) -> str:
    text = _string(row, where, fix, "text")
    title = row.get("title") if isinstance(row, dict) else None
    return f"{title} {text}" if isinstance(title, str) and title else text


def _string(row: Any, where: str, fix: str, *keys: str) -> str:
    found = next((row[key] for key in keys if key in row), None) if isinstance(row, dict) else row
    if not isinstance(found, str):
        raise UsageError(f"there is no {keys[0]!r}, or it is not a text", where=where, fix=fix)
    try:
        found.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{keys[0]!r} has a lone surrogate", where=where, fix=fix) from None
    return found


def _id(row: Any) -> Any:
    return row.get("id", row.get("_id")) if isinstance(row, dict) else None

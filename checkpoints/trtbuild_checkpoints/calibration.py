"""Calibration texts for quantization."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trtbuild.errors import UsageError
from trtbuild_checkpoints.resources import template_dir

Text = str | list[dict[str, str]]
"""A text, or the messages of a conversation."""

MAX_BYTES = 200 << 20
_KINDS = ".txt (paragraphs), .jsonl or .json (strings, {text} or {messages})"


def read_texts(path: Path | None, samples: int) -> tuple[Text, ...]:
    """Read at most ``samples`` texts, evenly spread over a file.

    A ``.txt`` file is split at empty lines. A text is a line of a ``.jsonl`` file, or an
    item of the list: a string, or an object with ``text`` or ``messages``.

    Args:
        path: None for the texts that are shipped.
        samples: 1 or more.

    Raises:
        UsageError: It cannot be read, has no text, or an invalid line (the error has its number).
    """
    if samples < 1:
        raise UsageError(f"--samples must be at least 1, got {samples}", fix="use 1 or more")
    path = path or template_dir("texts.txt")
    content = _read(path)
    if path.suffix == ".jsonl":
        found = list(_lines(path, content))
    elif path.suffix == ".json":
        found = list(_items(path, content))
    elif path.suffix == ".txt":
        found = [part.strip() for part in content.split("\n\n") if part.strip()]
    else:
        raise UsageError(
            f"{path.name} has an unknown file type", where=str(path), fix=f"use {_KINDS}"
        )
    if not found:
        raise UsageError(f"{path.name} has no text", where=str(path), fix=f"use {_KINDS}")
    count = min(samples, len(found))
    return tuple(found[at * len(found) // count] for at in range(count))


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(
                f"{path.name} is larger than {MAX_BYTES >> 20} MiB",
                where=str(path),
                fix="use a few hundred texts; more do not improve the scales",
            )
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"the calibration file cannot be read: {error.strerror}",
            where=str(path),
            fix="name a file with --calibration, or leave it out to use the built-in texts",
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path.name} is not UTF-8 (byte {error.start})",
            where=str(path),
            fix="save it as UTF-8",
        ) from None


def _lines(path: Path, content: str) -> Iterator[Text]:
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            yield _text(path, f"line {number}", _parsed(path, f"line {number}", line))


def _items(path: Path, content: str) -> Iterator[Text]:
    items = _parsed(path, "the file", content)
    if not isinstance(items, list):
        raise UsageError(f"{path.name} is not a JSON list", where=str(path), fix=f"use {_KINDS}")
    for number, item in enumerate(items, start=1):
        yield _text(path, f"item {number}", item)


def _parsed(path: Path, place: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path.name}: {place} is not JSON ({error})", where=str(path), fix=f"use {_KINDS}"
        ) from None


def _text(path: Path, place: str, item: Any) -> Text:
    if isinstance(item, dict):
        item = item.get("messages", item.get("text"))
    if isinstance(item, str) and item.strip():
        return item
    if isinstance(item, list) and item and all(_is_message(message) for message in item):
        return [{"role": message["role"], "content": message["content"]} for message in item]
    raise UsageError(
        f"{path.name}: {place} has neither text nor messages", where=str(path), fix=f"use {_KINDS}"
    )


def _is_message(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("role"), str)
        and isinstance(value.get("content"), str)
    )

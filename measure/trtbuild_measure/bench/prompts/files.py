"""Prompts from a file: a JSON object per line, or a JSON list of ShareGPT conversations."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from trtbuild.errors import UsageError
from trtbuild_measure.bench.counting import Counter
from trtbuild_measure.bench.model import Prompt

_ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant"}
_FIX = (
    'each line is an object with "prompt" (text), "messages" (role and content) or '
    '"conversations" (from and value), and may have "output_tokens"'
)


class FilePrompts:
    """Numbered prompts of a file, starting over at its end."""

    def __init__(self, prompts: tuple[Prompt, ...]) -> None:
        self._prompts = prompts

    def __len__(self) -> int:
        return len(self._prompts)

    def __call__(self, number: int) -> Prompt:
        """Return the prompt with this number."""
        return self._prompts[number % len(self._prompts)]


def read_prompts(path: Path, counter: Counter, length: Callable[[], int]) -> FilePrompts:
    """Read the prompts of a file; ``length`` draws an answer's length if an entry has none.

    Raises:
        UsageError: It cannot be read, is empty, or a line is invalid (the error has its number).
    """
    made = (_prompt(item, counter, length(), f"{path}:{line}") for line, item in read_items(path))
    found = tuple(prompt for prompt in made if prompt is not None)
    if not found:
        raise UsageError("there is no prompt in the file", where=str(path), fix=_FIX)
    return FilePrompts(found)


def read_items(path: Path, fix: str = _FIX) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield line number and object of each entry; ``fix`` says what an entry should be.

    Raises:
        UsageError: It cannot be read, or a line is not a JSON object.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # a byte order mark is not text
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}", fix="give a UTF-8 text file") from None
    if text.lstrip().startswith("["):
        yield from _list_items(path, text, fix)
        return
    # Split at line feeds only: JSON may contain other separators (U+2028, U+0085) unescaped.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, _object(line, f"{path}:{number}", fix)


def _list_items(path: Path, text: str, fix: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        items = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"not JSON: {error}", where=str(path), fix=fix) from None
    for number, item in enumerate(items, 1):
        if not isinstance(item, dict):
            raise UsageError(f"entry {number} is not an object", where=str(path), fix=fix)
        yield number, item


def _object(line: str, where: str, fix: str) -> Mapping[str, Any]:
    try:
        item = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"not JSON: {error}", where=where, fix=fix) from None
    if not isinstance(item, dict):
        raise UsageError("not a JSON object", where=where, fix=fix)
    return item


def _prompt(
    item: Mapping[str, Any], counter: Counter, output_tokens: int, where: str
) -> Prompt | None:
    """Return the prompt of an entry; None for a ShareGPT conversation without a user message."""
    wanted = item.get("output_tokens", output_tokens)
    if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 1:
        raise UsageError(f"output_tokens is {wanted!r}", where=where, fix="a number from 1 on")
    messages = _messages(item, where)
    text = item.get("prompt", messages[-1]["content"] if messages else None)
    if text is None and isinstance(item.get("conversations"), list):
        return None
    if not isinstance(text, str) or not text:
        raise UsageError("no prompt", where=where, fix=_FIX)
    for said in (text, *(message["content"] for message in messages)):
        encodable(said, where)
    return Prompt(text, counter.length(text), wanted, messages)


def encodable(text: str, where: str) -> None:
    """Raise UsageError for text with a lone surrogate, which no request can carry."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(
            f"the text has half a character at {error.start}: {text[error.start]!r}",
            where=where,
            fix="write both halves of the pair, or leave the character out",
        ) from None


def _messages(item: Mapping[str, Any], where: str) -> tuple[dict[str, str], ...]:
    """Return the conversation up to the last user message; empty without one."""
    found: list[dict[str, str]] = []
    listed = item.get("messages") or item.get("conversations") or []
    for message in listed if isinstance(listed, list) else [listed]:
        content = message.get("content", message.get("value")) if isinstance(message, dict) else 0
        if not isinstance(content, str):
            raise UsageError(f"a message is not text: {message!r:.60}", where=where, fix=_FIX)
        role = str(message.get("role") or message.get("from") or "user")
        found.append({"role": _ROLES.get(role, role), "content": content})
    while found and found[-1]["role"] != "user":
        found.pop()
    return tuple(found)

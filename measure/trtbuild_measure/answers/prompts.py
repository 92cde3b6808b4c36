"""Prompts of a file: JSON Lines with ``prompt`` or ``messages``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from trtbuild.errors import UsageError

_FIX = (
    'write {"id": "capital", "prompt": "The capital of France is"} or '
    '{"id": "greeting", "messages": [{"role": "user", "content": "Hello"}]}, one a line'
)


class Line(BaseModel):
    """A line of a file; it has no other keys than these."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Prompt(Line):
    """What to ask.

    Attributes:
        id: Its name in results; the line's number if it has none.
        prompt: Text in the model's own format.
        messages: A chat, for the model's chat template; instead of ``prompt``.
        max_tokens: The answer's length.
        chat_template_kwargs: More variables of the chat template.
    """

    id: str = ""
    prompt: str | None = None
    messages: tuple[Mapping[str, JsonValue], ...] = ()
    max_tokens: int = Field(default=0, ge=0)  # 0: the command's
    chat_template_kwargs: Mapping[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _either(self) -> Prompt:
        if (self.prompt is None) == (not self.messages):
            raise ValueError("give either 'prompt' or 'messages'")
        if not all(isinstance(one.get("role"), str) for one in self.messages):
            raise ValueError("a message has no 'role'")
        return self


_Line = TypeVar("_Line", bound=Line)
_Prompt = TypeVar("_Prompt", bound=Prompt)


def read_prompts(path: Path, max_tokens: int) -> tuple[Prompt, ...]:
    """Return the prompts of a file, each with an id and the length of its answer.

    Args:
        path: The file.
        max_tokens: For prompts that name none.

    Raises:
        UsageError: It cannot be read, has no prompt, a line is not one, or two have one id.
    """
    return completed(read_lines(path, Prompt, "prompt", _FIX), max_tokens, path)


def completed(
    lines: Sequence[tuple[int, _Prompt]], max_tokens: int, path: Path
) -> tuple[_Prompt, ...]:
    """Return prompts with their numbers as ids, and with a length, where they name none.

    Raises:
        UsageError: Two have one id.
    """
    found = [
        one.model_copy(update={"id": one.id or str(at), "max_tokens": one.max_tokens or max_tokens})
        for at, one in lines
    ]
    seen: set[str] = set()
    for one in found:
        if one.id in seen:
            raise UsageError(
                f"two prompts have the id {one.id!r}", where=str(path), fix="rename one of them"
            )
        seen.add(one.id)
    return tuple(found)


def read_lines(path: Path, kind: type[_Line], what: str, fix: str) -> list[tuple[int, _Line]]:
    """Return the lines of a JSON Lines file that are not empty, with their numbers.

    Args:
        path: The file.
        kind: What a line is.
        what: How messages call one.
        fix: How to write one.

    Raises:
        UsageError: It cannot be read, has no line, or a line is something else.
    """
    found = list(_lines(path, kind, what, fix))
    if not found:
        raise UsageError(f"{path} has no {what}", fix=fix)
    return found


def _lines(path: Path, kind: type[_Line], what: str, fix: str) -> Iterator[tuple[int, _Line]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", fix="check the path") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: {error}", fix="save the file as UTF-8") from None
    # Not splitlines, which also splits at characters that JSON texts may contain.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield number, kind.model_validate(json.loads(line))
        except (ValidationError, ValueError, RecursionError) as error:
            raise UsageError(
                f"line {number} is not a {what}: {problem(error)}", where=str(path), fix=fix
            ) from None


def problem(error: Exception) -> str:
    """Return what is wrong with a line, in one sentence."""
    if not isinstance(error, ValidationError):
        return str(error)
    first: Any = error.errors()[0]
    said = first["msg"].removeprefix("Value error, ")
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {said}" if where else said

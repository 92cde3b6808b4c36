"""``config.pbtxt`` as protobuf, never as joined strings.

The schema is Triton's own, as data (:mod:`trtbuild.wire.schema`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtbuild.files import require_regular
from trtbuild.wire.schema import enumeration, message

if TYPE_CHECKING:
    from google.protobuf.message import Message


class PbtxtError(Exception):
    """A text that is not a ModelConfig. ``line`` and ``column`` count from 1, 0 if unknown."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.message}" if self.line else self.message


def model_config(**fields: Any) -> Any:
    """An ``inference.ModelConfig``. Raises ValueError for a field the schema does not have."""
    return message("ModelConfig")(**fields)


def data_type(name: str) -> int:
    """The enum number of a data type name such as ``TYPE_STRING``; ValueError for another."""
    try:
        return int(enumeration("DataType").values_by_name[name].number)
    except KeyError:
        raise ValueError(f"Triton has no data type {name!r}") from None


def data_type_name(number: int) -> str:
    """The Triton name of a data type's enum number; text may have others, which are their name."""
    known = enumeration("DataType").values_by_number.get(number)
    return str(known.name if known else number)


def render(config: Message, *, header: str = "") -> str:
    """The text of a ModelConfig, with ``header`` lines as comments before it.

    Protobuf's printer leaves out ``max_batch_size: 0``, which says "no batching" aloud, so it is
    printed. The result is parsed again and compared: what is written is what was meant.
    """
    body = _printed(config.SerializeToString(deterministic=True))
    if not config.max_batch_size:  # type: ignore[attr-defined]
        body = _insert_after_scalars(body, "max_batch_size: 0\n")
    text = "".join(f"# {line}".rstrip() + "\n" for line in header.splitlines()) + body
    if _parsed(text) != config:
        raise ValueError("config.pbtxt did not survive its own parser")
    return text


# A plan, its conversion and the validation of what it wrote make and read the same files several
# times, and protobuf prints and parses text in Python.
@lru_cache(maxsize=256)
def _printed(serialized: bytes) -> str:
    from google.protobuf import text_format

    config = message("ModelConfig").FromString(serialized)
    return str(text_format.MessageToString(config, as_utf8=True))


@lru_cache(maxsize=256)
def _parsed(text: str) -> Any:
    """The same as :func:`parse`; nobody may change the result."""
    from google.protobuf import text_format

    try:
        return text_format.Parse(text, message("ModelConfig")())
    except text_format.ParseError as error:
        words = re.sub(r"^\d+:\d+ : ", "", str(error))
        raise PbtxtError(words, error.GetLine() or 0, error.GetColumn() or 0) from None
    except (ValueError, RecursionError) as error:  # a number that is too large for an enumeration
        raise PbtxtError(str(error)) from None


def _insert_after_scalars(body: str, line: str) -> str:
    """Put ``line`` after the leading ``name:``, ``backend:`` and ``platform:`` lines."""
    lines = body.splitlines(keepends=True)
    at = 0
    while at < len(lines) and re.match(r"(name|backend|platform|runtime): ", lines[at]):
        at += 1
    return "".join([*lines[:at], line, *lines[at:]])


def parse(text: str) -> Any:
    """An ``inference.ModelConfig`` from text; raises :class:`PbtxtError` with its position."""
    config = message("ModelConfig")()
    config.CopyFrom(_parsed(text))
    return config


def read(path: Path) -> Any:
    """The ``ModelConfig`` in a file; OSError, UnicodeDecodeError or PbtxtError if there is none."""
    require_regular(path)
    return parse(path.read_text(encoding="utf-8"))


def configs(repository: Path) -> Callable[[str], Any]:
    """A function from a model's name to its ``ModelConfig``, None where there is none to read."""

    @cache
    def config_of(name: str) -> Any:
        try:
            return read(repository / name / "config.pbtxt")
        except (OSError, UnicodeDecodeError, PbtxtError):
            return None

    return config_of

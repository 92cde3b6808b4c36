"""Bounded, checked reading of a checkpoint's JSON files."""

from __future__ import annotations

import json
import re
from typing import Any

from trtbuild.errors import UnsupportedError

_HALF = re.compile(r"\\u[dD][89a-fA-F]")

MAX_METADATA_BYTES = 50_000_000
"""No metadata file of a real checkpoint is larger; a tokenizer.json of 250k tokens has 35 MB."""


def refuse_large(name: str, size: int) -> None:
    """Raise UnsupportedError if a metadata file is too large."""
    if size > MAX_METADATA_BYTES:
        raise UnsupportedError(
            f"{name} has {size:,} bytes, more than {MAX_METADATA_BYTES:,}",
            where=name,
            fix="this is not the metadata file of a checkpoint; fetch the checkpoint again",
        )


def json_object(data: bytes, name: str) -> dict[str, Any]:
    """Parse ``data`` as a JSON object; UnsupportedError with ``name`` and the position."""
    value = _json(data, name)
    if not isinstance(value, dict):
        raise _other_kind(value, "object", name)
    return value


def json_array(data: bytes, name: str) -> list[Any]:
    """Parse ``data`` as a JSON array; UnsupportedError as in :func:`json_object`."""
    value = _json(data, name)
    if not isinstance(value, list):
        raise _other_kind(value, "array", name)
    return value


def _json(data: bytes, name: str) -> Any:
    fix = f"fetch {name} again from where the checkpoint came from"
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnsupportedError(
            f"{name} is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}",
            where=name,
            fix=fix,
        ) from None
    try:
        value = json.loads(text)
        return _whole(value) if _HALF.search(text) else value
    except json.JSONDecodeError as error:
        raise UnsupportedError(
            f"{name} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}",
            where=name,
            fix=fix,
        ) from None
    except (RecursionError, ValueError):
        raise UnsupportedError(f"{name} is not JSON we can read", where=name, fix=fix) from None


def _whole(value: Any) -> Any:
    """Return ``value`` with U+FFFD for each lone surrogate, which UTF-8 cannot encode."""
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return value


def _other_kind(value: object, expected: str, name: str) -> UnsupportedError:
    return UnsupportedError(
        f"{name} holds a JSON {_kind(value)}, not an {expected}",
        where=name,
        fix=f"fetch {name} again from where the checkpoint came from",
    )


def _kind(value: object) -> str:
    if isinstance(value, list | dict):
        return "array" if isinstance(value, list) else "object"
    if isinstance(value, str):
        return "string"
    return "null" if value is None else "number or boolean"


class Problems:
    """Collects problems to report them all at once."""

    def __init__(self) -> None:
        self._found: list[tuple[str, str]] = []

    def add(self, what: str, fix: str = "") -> None:
        """Add a problem and its fix."""
        if all(known != what for known, _ in self._found):
            self._found.append((what, fix))

    def take(self, error: UnsupportedError) -> None:
        """Add the problems of an error raised by a part."""
        for what in error.details or (error.what,):
            self.add(what, error.fix)

    def __bool__(self) -> bool:
        return bool(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def raise_if_any(self, where: str) -> None:
        """Raise one UnsupportedError with all problems."""
        if not self._found:
            return
        what, fix = self._found[0]
        if len(self._found) == 1:
            raise UnsupportedError(what, where=where, fix=fix)
        fixes = dict.fromkeys(fix for _, fix in self._found if fix)
        raise UnsupportedError(
            f"{where} has {len(self._found)} problems",
            where=where,
            fix="; ".join(fixes),
            details=tuple(what for what, _ in self._found),
        )


def dump_json(value: object) -> bytes:
    """Return ``value`` as JSON in a checkpoint's style: indented, UTF-8, a final newline."""
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode("utf-8")

"""Lines of the audit log: JSON, each with a hash over its own bytes and the hash before it.

A line is ``BODY,"hash":"HEX"}``, where BODY begins with ``{`` and ends with ``"prev":"HEX"``. The
hash is SHA-256 of BODY's bytes, or HMAC-SHA-256 with a key: who can write the file can compute a
new chain of plain hashes, but none of keyed ones.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

START = "0" * 64
CONTINUED = "continued"
"""The event of the first line of a file that continues the chain of another."""
_MARK = b',"hash":"'
_TAIL = len(_MARK) + 64 + len(b'"}')

_encode = msgspec.json.Encoder().encode


class ChainError(Exception):
    """A line that is not what was written."""


@dataclass(frozen=True, slots=True)
class Link:
    """The end of a chain.

    Attributes:
        seq: The number of its last line; 0 before the first.
        hash: Of its last line.
    """

    seq: int = 0
    hash: str = START


def digest(body: bytes, key: bytes) -> str:
    """Return the hash of a line without it."""
    if key:
        return hmac.digest(key, body, "sha256").hex()
    return hashlib.sha256(body).hexdigest()


def next_line(before: Link, entry: Mapping[str, Any], key: bytes) -> tuple[bytes, Link]:
    """Return the line after ``before``, and the chain with it."""
    line = {"seq": before.seq + 1, **entry, "prev": before.hash}
    try:
        body = _encode(line)[:-1]
    except UnicodeEncodeError:  # half a pair of surrogates must not keep later lines waiting
        body = json.dumps(line, ensure_ascii=False).encode("utf-8", "replace")[:-1]
    found = digest(body, key)
    return body + _MARK + found.encode() + b'"}\n', Link(before.seq + 1, found)


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is as it was written.

    Attributes:
        link: The end of its chain.
        before: The hash before it.
        continues: Whether it begins a file that continues the chain of another.
    """

    link: Link
    before: str
    continues: bool


def check_line(line: bytes, key: bytes) -> Line:
    """Return what a line says.

    Raises:
        ChainError: Its bytes are not those that were hashed.
    """
    body, tail = line[:-_TAIL], line[-_TAIL:]
    if not (tail.startswith(_MARK) and tail.endswith(b'"}')):
        raise ChainError("it is not a line of an audit log")
    given = tail[len(_MARK) : -2].decode("latin-1")
    if not hmac.compare_digest(given.encode("latin-1"), digest(body, key).encode()):
        raise ChainError("its hash does not match: it was changed, or the key differs")
    try:
        found = msgspec.json.decode(body + b"}")
        link = Link(int(found["seq"]), given)
        return Line(link, str(found["prev"]), found.get("event") == CONTINUED)
    except (msgspec.DecodeError, LookupError, TypeError, ValueError):
        raise ChainError("it is not a line of an audit log") from None


def walk(lines: Iterable[bytes], key: bytes, before: Link | None = None) -> Iterator[Link]:
    """Yield the link of each line of a whole file.

    Args:
        lines: The file.
        key: Of the chain.
        before: The end of the file before it; without one the file may begin a chain, or continue
            that of a file which is not here.

    Raises:
        ChainError: A line that was changed, removed, added or moved; its message says where.
    """
    for number, line in enumerate(lines, 1):
        try:
            if not line.endswith(b"\n"):
                raise ChainError("it is incomplete: its writer was interrupted")
            found = check_line(line[:-1], key)
            if before is None:
                before = Link(found.link.seq - 1, found.before) if found.continues else Link()
            if found.link.seq != before.seq + 1 or found.before != before.hash:
                raise ChainError(
                    f"it is number {found.link.seq} and follows another line than the one before "
                    "it: lines were removed, added or moved"
                )
        except ChainError as error:
            raise ChainError(f"line {number}: {error}") from None
        before = found.link
        yield before


def number_of(line: bytes) -> int:
    """Return what a line says is its number, without any check; 0 if it says none."""
    try:
        found = msgspec.json.decode(line)["seq"]
    except (msgspec.DecodeError, LookupError, TypeError):
        return 0
    return found if isinstance(found, int) else 0

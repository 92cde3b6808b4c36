"""The parts of HTTP/1.1 and of server-sent events that can be read without what came before."""

from __future__ import annotations

import json
from functools import lru_cache

from trtbuild.wire.failures import MalformedError


def as_error(event: bytes) -> bytes:
    """Return an event called ``error`` as the object with ``error`` that other servers send."""
    try:
        found = json.loads(event)
    except (ValueError, RecursionError):
        found = event.decode("utf-8", "replace")
    if isinstance(found, dict) and found.get("error"):
        return event
    return json.dumps({"error": found or "an event of the kind error"}).encode()


def number(text: str) -> int | None:
    """Parse at most 18 decimal digits; ``str.isdigit`` accepts more than ``int`` does."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def events_of(buffer: bytes, limit: int) -> list[bytes]:
    """Return the events of chunks that hold one each, a JSON object on one line, as Triton sends
    them; nothing for any other form."""
    chunks = buffer.split(b"\n\n\r\n")
    if chunks.pop() or len(buffer) > limit:
        return []
    # Each has the line ends of its size, its event and its end, and no other.
    if buffer.count(b"\n") != 4 * len(chunks) or buffer.count(b"\r") != 2 * len(chunks):
        return []
    events = []
    for chunk in chunks:
        size, _, event = chunk.partition(b"\r\ndata: ")
        if event[:1] != b"{" or event[-1:] != b"}" or chunk_size(size) != len(event) + 8:
            return []
        events.append(event)
    return events


@lru_cache(256)
def chunk_size(line: bytes) -> int:
    """Parse the line before a chunk; MalformedError if it has no size."""
    try:
        size = int(line.split(b";", 1)[0], 16)
    except ValueError:
        size = -1
    if size < 0:
        raise MalformedError(f"not a chunk size: {line[:20]!r}")
    return size


def headers_of(lines: list[str]) -> dict[str, str]:
    """Return the headers of these lines, names in lower case."""
    pairs = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}

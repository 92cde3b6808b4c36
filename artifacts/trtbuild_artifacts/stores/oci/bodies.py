"""Bodies of a registry's responses, of which no more is read than is wanted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, suppress

import httpx

_CHUNK = 1 << 16
_ERROR_BYTES = 1 << 16


def beginning(response: httpx.Response, most: int) -> bytes:
    """Return the first bytes of a body, however long it is, and close the response.

    Raises:
        httpx.HTTPError: The connection broke.
    """
    content = b""
    with closing(response):
        for chunk in response.iter_bytes(_CHUNK):
            content += chunk
            if len(content) >= most:
                break
    return content[:most]


def drop(response: httpx.Response) -> None:
    """Close a response whose body has no meaning; a short one is read to reuse the connection."""
    with suppress(httpx.HTTPError):
        beginning(response, _ERROR_BYTES)


def skipped(chunks: Iterator[bytes], count: int) -> Iterator[bytes]:
    """Yield ``chunks`` without the first bytes, for a registry that knows no ranges."""
    for chunk in chunks:
        if count < len(chunk):
            yield chunk[count:] if count else chunk
        count = max(0, count - len(chunk))


def reasons(response: httpx.Response) -> tuple[str, ...]:
    """Return what a registry gives as reasons, at most three lines."""
    try:
        errors = json.loads(beginning(response, _ERROR_BYTES))["errors"][:3]
        return tuple(f"{one.get('code')}: {one.get('message')}"[:200] for one in errors)
    except (httpx.HTTPError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ()

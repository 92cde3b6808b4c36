"""API keys for a gateway under test."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trtbuild_gateway.access.keys import Key, Secret, digest_of, new_key, read_keys, write_keys

USER = {"role": "user", "content": "Hello"}


def add_key(path: Path, name: str = "team", **fields: Any) -> str:
    """Add a key to a file, and return its text; its id is the second part."""
    id, text = new_key()
    made = datetime(2026, 1, 1, tzinfo=UTC)
    keys = list(read_keys(path).values()) if path.exists() else []
    key = Key(id, name, made, (Secret(digest_of(text), made),), **fields)
    write_keys(path, [*keys, key])
    return text


def bearer(text: str) -> dict[str, str]:
    """The header of a request with a key."""
    return {"authorization": f"Bearer {text}"}

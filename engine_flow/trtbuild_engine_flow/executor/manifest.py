"""``manifest.json`` of an engine: what compiled it, for which GPU, from what."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """Facts that an engine directory itself does not contain.

    Attributes:
        key: Digest of all it depends on; an equal key means nothing to do.
        sm: Compute capability of the GPU it was compiled on and runs on, 90 for 9.0.
        versions: By program: ``tensorrt_llm``, ``tensorrt``, ``driver``, as the build saw them.
        options: What ``trtllm-build`` was given.
        files: Bytes of each engine file.
        seconds: How long the build took.
    """

    key: str
    model: str
    source: str
    image: str
    sm: int
    gpu: str
    options: tuple[str, ...]
    files: dict[str, int]
    versions: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def render(manifest: Manifest) -> bytes:
    """The bytes of the file."""
    document = {"version": _VERSION, **asdict(manifest)}
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of an engine directory; None without a usable one."""
    try:
        document: Any = json.loads((folder / MANIFEST).read_bytes())
        if document.pop("version") != _VERSION:
            return None
        files = {str(name): int(size) for name, size in document["files"].items()}
        return Manifest(**{**document, "options": tuple(document["options"]), "files": files})
    except (OSError, ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return None

"""What an output directory holds as it was written: the digest of each file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from trtbuild.errors import UsageError
from trtbuild_deploy.target import OutputFile

MANIFEST_NAME = ".trtbuild-deploy.json"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """Who wrote a directory, and SHA-256 by path; empty for a directory of others."""

    target: str = ""
    repository: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


def manifest_of(target: str, repository: str, files: Iterable[OutputFile]) -> Manifest:
    """The manifest of what is about to be written; ``repository`` is the lock's digest."""
    return Manifest(target, repository, {file.path: digest(file.content) for file in files})


def digest(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a directory.

    Raises:
        UsageError: It is damaged.
    """
    path = folder / MANIFEST_NAME
    try:
        found = json.loads(path.read_bytes())
        if found["version"] != _VERSION:
            raise ValueError(f"version {found['version']!r}")
        files = {str(name): str(value) for name, value in found["files"].items()}
        if outside := [name for name in files if not _is_inside(name)]:
            raise ValueError(f"{outside[0]!r} is not a file of this directory")
        return Manifest(str(found["target"]), str(found["repository"]), files)
    except (FileNotFoundError, NotADirectoryError):
        return Manifest()
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{MANIFEST_NAME} cannot be read: {error}",
            where=str(path),
            fix="restore it from version control, or write into an empty directory",
        ) from None


def _is_inside(name: str) -> bool:
    """Whether a path stays in the directory: an old file that is written no more is removed."""
    path = PurePosixPath(name)
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    return 0 < longest < 256 and len(name) < 1024 and path.root == "" and ".." not in path.parts


def manifest_bytes(manifest: Manifest) -> bytes:
    """The file's content."""
    value = {
        "version": _VERSION,
        "target": manifest.target,
        "repository": manifest.repository,
        "files": dict(sorted(manifest.files.items())),
    }
    return (json.dumps(value, indent=2) + "\n").encode()


def edited(folder: Path, manifest: Manifest) -> tuple[str, ...]:
    """The files of a manifest that are not as they were written; one that is gone is not edited."""
    return tuple(
        path
        for path, sha256 in sorted(manifest.files.items())
        if (folder / path).is_file() and digest((folder / path).read_bytes()) != sha256
    )

"""Paths of a repository's files, inside a container and on this machine."""

from __future__ import annotations

from pathlib import PurePosixPath

MOUNT = "/models"
"""Where containers see a repository, and what the generated files name."""


def inside(path: str) -> str:
    """Return a path below :data:`MOUNT` relative to the repository; empty for other paths."""
    try:
        relative = PurePosixPath(path).relative_to(MOUNT)
    except ValueError:
        return ""
    return "" if ".." in relative.parts or str(relative) == "." else str(relative)

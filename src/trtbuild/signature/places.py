"""Where a repository's files lie, seen from a container and seen from here."""

from __future__ import annotations

from pathlib import PurePosixPath

MOUNT = "/models"
"""Where containers see a repository, and what the generated files name."""


def inside(path: str) -> str:
    """A path below :data:`MOUNT` relative to the repository; empty for any other path."""
    try:
        relative = PurePosixPath(path).relative_to(MOUNT)
    except ValueError:
        return ""
    return "" if ".." in relative.parts or str(relative) == "." else str(relative)

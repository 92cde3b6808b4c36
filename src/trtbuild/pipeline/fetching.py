"""Repositories that are named by a URL: a plug-in brings them to this machine."""

from __future__ import annotations

from pathlib import Path

from trtbuild.errors import UsageError
from trtbuild.plugins import points
from trtbuild.progress import SILENT, Progress

ENTRY_POINT_GROUP = "trtbuild.fetchers.v1"


def is_url(text: str) -> bool:
    """Whether ``text`` is the URL of a pushed repository, and not a path."""
    return "://" in text or text.startswith("mlflow:")


def local_repository(text: str, progress: Progress = SILENT) -> Path:
    """The directory that ``text`` names: a path, or a URL, which is fetched into the cache.

    Raises:
        UsageError: No plug-in fetches URLs, or there is nothing at that one.
        BuildError: It cannot be reached.
    """
    if not is_url(text):
        return Path(text)
    for point in points(ENTRY_POINT_GROUP):
        folder: Path = point.load()(text, progress)
        return folder
    raise UsageError(
        f"{text!r} cannot be fetched: no plug-in does that", fix="name a directory on this machine"
    )

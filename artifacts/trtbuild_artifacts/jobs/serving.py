"""Bring a pushed repository into the cache, for a server."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path

from trtbuild.progress import SILENT, Progress
from trtbuild.resources import cache_dir
from trtbuild.server import servers
from trtbuild_artifacts.jobs.pulling import look_up, take

_STARTING_SECONDS = 3600.0


def fetch(url: str, progress: Progress = SILENT) -> Path:
    """The directory in the cache with what a URL means now.

    Each version has its own, because a server may run on an older one; versions share the files
    that are equal. Those that no server runs on, and that nobody fetched in the last hour, are
    removed. Raises as :func:`~trtbuild_artifacts.jobs.pulling.pull`.
    """
    opened = look_up(url, progress)
    reference = opened.reference
    place = hashlib.sha256(f"{reference.scheme}:{reference.place}".encode()).hexdigest()[:12]
    home = cache_dir("pulled", place).resolve()
    name = hashlib.sha256(opened.remote.version.encode()).hexdigest()[:12]
    versions = home.iterdir() if home.is_dir() else ()
    older = [one for one in versions if not one.name.startswith(".") and one.name != name]
    pulled = take(opened, home / name, force=True, beside=older, progress=progress)
    served = {Path(handle.repo).resolve() for handle in servers()}
    os.utime(pulled.directory)
    for folder in older:
        if folder not in served and not _is_recent(folder):
            shutil.rmtree(folder, ignore_errors=True)
    return pulled.directory


def _is_recent(folder: Path) -> bool:
    """Whether a server may be starting on it that nobody has seen yet."""
    try:
        return time.time() - folder.stat().st_mtime < _STARTING_SECONDS
    except FileNotFoundError:  # another process removed it
        return False

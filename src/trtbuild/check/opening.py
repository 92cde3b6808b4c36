"""Opening a repository for the rules, whatever state its lock is in."""

from __future__ import annotations

from pathlib import Path

from trtbuild import lockfile
from trtbuild.check.context import Repository
from trtbuild.check.options import Options
from trtbuild.check.reading import read_inside
from trtbuild.errors import RepositoryError
from trtbuild.lockfile import Lock
from trtbuild.progress import SILENT, Progress


def open_repository(
    root: Path,
    options: Options,
    *,
    lock: Lock | None = None,
    only: str = "",
    progress: Progress = SILENT,
) -> Repository:
    """A repository to look at; a damaged lock becomes a finding, not an error."""
    problem = ""
    if lock is None:
        path = root / lockfile.LOCK_NAME
        try:
            lock = lockfile.parse(read_inside(path, root), path)
        except (FileNotFoundError, NotADirectoryError):
            lock = Lock()
        except OSError as error:
            lock = Lock()
            problem = f"{path.name} cannot be read: {error.strerror or error}"
        except RepositoryError as error:
            lock, problem = Lock(), error.what
    return Repository(root, options, lock, problem, progress, only)

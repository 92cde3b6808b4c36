"""What of a repository is pushed: the lock, and the directories of its models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trtbuild import lockfile
from trtbuild.check.reading import is_inside
from trtbuild.errors import BuildError, RepositoryError, UsageError
from trtbuild.files import digest_all
from trtbuild.lockfile import LOCK_NAME, Lock
from trtbuild.progress import SILENT, Progress
from trtbuild.repository import require_repository
from trtbuild_artifacts.listing import Entry, Listing, is_safe


@dataclass(frozen=True, slots=True)
class Contents:
    """A repository to push: its directory and the listing of its files."""

    root: Path
    listing: Listing
    lock: Lock

    def source(self, path: str) -> Path:
        """The file of that path."""
        return self.root / path


def read(root: Path, *, edited: bool = False, progress: Progress = SILENT) -> Contents:
    """List a repository with the SHA-256 of each file.

    Hidden directories, files beside the models and what Python compiled are left out. Links to
    files are followed within the repository.

    Args:
        root: The repository.
        edited: Whether files may differ from the lock.
        progress: Told while files are read.

    Raises:
        UsageError: There is no such directory, or it has no model.
        RepositoryError: A file differs from the lock and not ``edited``; a link leads out, or to a
            directory.
        BuildError: A file cannot be read.
    """
    lock = lockfile.read(require_repository(root))
    try:
        paths, folders = _found(root)
        entries = _entries(root, paths, progress)
    except OSError as error:
        raise BuildError(
            f"a file of the repository cannot be read: {error.strerror or error}",
            where=str(error.filename or root),
            fix="make it readable, or remove it",
        ) from None
    if not paths:
        raise UsageError(
            f"{str(root)!r} has no model", fix="name a model repository: trtbuild convert makes one"
        )
    if (root / LOCK_NAME).is_file():
        entries |= _entries(root, [LOCK_NAME], progress)
    listing = Listing(
        _models(lock, paths, folders), entries, tuple(folders), _edited(lock, entries)
    )
    if listing.edited and not edited:
        raise RepositoryError(
            "files differ from the lock, so they were changed after the conversion",
            where=str(root),
            details=listing.edited,
            fix="put the change into the recipe and convert again, or push them as they are "
            "with --edited",
        )
    return Contents(root, listing, lock)


def _found(root: Path) -> tuple[list[str], list[str]]:
    """Paths of the files of all models, and of the empty directories."""
    paths: list[str] = []
    empty: list[str] = []
    tops = [one.name for one in root.iterdir() if one.is_dir() and not one.name.startswith(".")]
    for top in sorted(tops):
        for folder, names in _walk(root, top):
            inside = [f"{folder}/{name}" for name in names]
            paths += [path for path in inside if not (root / path).is_dir()]
            if not names:
                empty.append(folder)
    for path in paths:
        if not is_safe(path):
            raise UsageError(
                f"the name {path!r} cannot be stored",
                fix="rename it without ':' and '\\', in UTF-8",
            )
        if not is_inside(root / path, root) or not (root / path).is_file():
            raise RepositoryError(
                f"{path!r} is a link out of the repository, or no file",
                where=str(root),
                fix="replace it by the file itself",
            )
    return paths, empty


def _walk(root: Path, top: str) -> Iterator[tuple[str, list[str]]]:
    """Directories below ``top`` with what is in them; compiled Python is left out."""
    if not is_inside(root / top, root):
        raise RepositoryError(
            f"{top!r} is a link out of the repository",
            where=str(root),
            fix="replace it by the directory itself",
        )
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        names = sorted(one.name for one in (root / folder).iterdir() if one.name != "__pycache__")
        yield folder, names
        inside = [f"{folder}/{name}" for name in names]
        below = [path for path in inside if (root / path).is_dir()]
        for path in below:
            if (root / path).is_symlink():
                raise RepositoryError(
                    f"{path!r} is a link to a directory",
                    where=str(root),
                    fix="replace it by the directory itself",
                )
        waiting += below


def _entries(root: Path, paths: list[str], progress: Progress) -> dict[str, Entry]:
    digests = digest_all({path: root / path for path in paths}, progress)
    found = {}
    for path, sha256 in digests.items():
        status = (root / path).stat()
        found[path] = Entry(sha256, status.st_size, bool(status.st_mode & 0o100))
    return dict(sorted(found.items()))


def _models(lock: Lock, paths: list[str], folders: list[str]) -> dict[str, tuple[str, ...]]:
    """Directories by model; one that no conversion wrote is a model of its own."""
    tops = dict.fromkeys(path.partition("/")[0] for path in sorted([*paths, *folders]))
    models: dict[str, tuple[str, ...]] = {}
    for top in tops:
        name = lock.owner(top) or top
        models[name] = (*models.get(name, ()), top)
    return models


def _edited(lock: Lock, entries: dict[str, Entry]) -> tuple[str, ...]:
    locked = {path: one for model in lock.models.values() for path, one in model.files.items()}
    return tuple(
        path
        for path, entry in entries.items()
        if path in locked and locked[path].sha256 != entry.sha256
    )

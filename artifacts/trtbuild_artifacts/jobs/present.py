"""What lies in the directory that a pull would replace."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trtbuild import lockfile
from trtbuild.errors import TrtbuildError, UsageError
from trtbuild.files import digest_all
from trtbuild.lockfile import LOCK_NAME
from trtbuild.progress import Progress
from trtbuild_artifacts.listing import LISTING_NAME, Listing, parse

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Present:
    """The files of a directory.

    Attributes:
        target: The directory.
        files: SHA-256 by path; empty for a link.
        folders: Its directories.
        pulled: The listing of the last pull; None if there was none.
        locked: SHA-256 by path, as the lock has it.
    """

    target: Path
    files: Mapping[str, str] = field(default_factory=dict)
    folders: frozenset[str] = frozenset()
    pulled: Listing | None = None
    locked: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, target: Path, progress: Progress) -> Present:
        """Read a directory, which may be missing. UsageError if it is a file."""
        if not target.exists():
            return cls(target)
        if not target.is_dir():
            raise UsageError(f"{str(target)!r} is not a directory", fix="name a directory")
        files, links, folders = _found(target)
        digests = digest_all(files, progress) | dict.fromkeys(links, "")
        pulled = _pulled(target / LISTING_NAME)
        digests.pop(LISTING_NAME, None)
        models = lockfile.read(target).models.values() if LOCK_NAME in files else ()
        locked = {path: one.sha256 for model in models for path, one in model.files.items()}
        return cls(target, digests, folders, pulled, locked)

    def is_exactly(self, listing: Listing) -> bool:
        """Whether it is what a pull of ``listing`` would leave."""
        wanted = {path: entry.sha256 for path, entry in listing.files.items()}
        return (
            self.pulled is not None
            and self.pulled.content == listing.content
            and dict(self.files) == wanted
            and self.folders.issuperset(listing.folders)
        )

    def require_replaceable(self, listing: Listing, *, force: bool) -> None:
        """Refuse to replace what nobody could restore.

        Raises:
            UsageError: It is not a repository of trtbuild; files were changed or added by hand and
                not ``force``.
        """
        if not self.files:
            return
        if self.pulled is None and LOCK_NAME not in self.files:
            raise UsageError(
                f"{str(self.target)!r} has files and is not a repository that trtbuild made",
                fix="name a new directory",
            )
        own = [
            path for path, sha256 in self.files.items() if not self._known(path, sha256, listing)
        ]
        if own and not force:
            more = (f"and {len(own) - _SHOWN} more",) if len(own) > _SHOWN else ()
            raise UsageError(
                "the directory has files that were changed or added by hand",
                where=str(self.target),
                details=(*sorted(own)[:_SHOWN], *more),
                fix="pull into another directory, or replace them with --force",
            )

    def _known(self, path: str, sha256: str, listing: Listing) -> bool:
        """Whether a file was pulled as it is, or lies in what is pulled now."""
        wanted = listing.files.get(path)
        if wanted is not None and wanted.sha256 == sha256:
            return True
        if self.pulled is not None:
            before = self.pulled.files.get(path)
            return before is not None and before.sha256 == sha256
        return wanted is not None and (path == LOCK_NAME or self.locked.get(path) == sha256)


def _pulled(path: Path) -> Listing | None:
    try:
        return parse(path.read_bytes(), str(path))
    except (OSError, TrtbuildError):
        return None


def _found(target: Path) -> tuple[dict[str, Path], list[str], frozenset[str]]:
    files: dict[str, Path] = {}
    links: list[str] = []
    folders: set[str] = set()
    for root, inner, names in os.walk(target):
        inner[:] = [name for name in inner if name != "__pycache__"]
        for name in [*names, *inner]:
            path = Path(root, name)
            relative = path.relative_to(target).as_posix()
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                links.append(relative)
            elif path.is_dir():
                folders.add(relative)
            else:
                files[relative] = path
    return files, links, frozenset(folders)

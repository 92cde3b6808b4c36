"""Atomic changes to a repository.

Models are prepared outside the repository, because Triton treats every directory inside it as a
model. Then they are renamed into place; a journal lets the next run complete an interrupted change.
See docs/adr/0031-staging-beside-the-repository.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from trtbuild import lockfile
from trtbuild.endings import uninterrupted
from trtbuild.errors import UsageError
from trtbuild.files import disk_trouble, exchange, exclusive, scratch, sweep
from trtbuild.files.staging import MARK, sync_folder, sync_tree, write_synced
from trtbuild.lockfile import LOCK_NAME, Lock
from trtbuild.progress import SILENT, Progress

_JOURNAL = "journal.json"


@dataclass(frozen=True, slots=True)
class Transaction:
    """A change being prepared: fill directories in :attr:`new`, then :meth:`commit`."""

    repository: Path
    staging: Path
    lock: Lock

    @property
    def new(self) -> Path:
        """The directory in which new directories of the repository are prepared."""
        return self.staging / "new"

    def commit(self, lock: Lock, *, remove: tuple[str, ...] = ()) -> None:
        """Put every directory of :attr:`new` and ``lock`` in place, and delete ``remove``.

        Raises OSError and leaves the repository unchanged.
        """
        write_synced(self.staging / LOCK_NAME, lockfile.render(lock))
        (self.staging / "old").mkdir()
        place = {folder.name: folder.stat().st_ino for folder in sorted(self.new.iterdir())}
        sync_tree(self.new)
        with uninterrupted():
            staging = self._beside_the_models()
            journal = json.dumps({"place": place, "remove": list(remove)})
            write_synced(staging / _JOURNAL, journal.encode())
            sync_folder(staging)
            _apply(self.repository, staging)
            sync_folder(self.repository)

    def _beside_the_models(self) -> Path:
        """Return a place for the staging directory outside models to be exchanged."""
        if self.staging.parent in (self.repository, self.repository.parent):
            return self.staging
        return self.staging.rename(self.repository / self.staging.name)


@contextmanager
def transaction(repository: Path, progress: Progress = SILENT) -> Iterator[Transaction]:
    """Lock ``repository`` (created if missing) and yield a place to prepare a change.

    If the block ends before :meth:`Transaction.commit`, nothing changes.

    Raises:
        UsageError: ``repository`` is not a directory.
        BuildError: The disk is full, read-only or broken.
        RepositoryError: The lock file is damaged.
    """
    repository = repository.absolute()
    if repository.exists() and not repository.is_dir():
        raise UsageError(
            f"{repository} is not a directory", fix="name another directory with --repo"
        )
    with disk_trouble(repository), _existing(repository), ExitStack() as stack:
        message = f"waiting for another trtbuild that writes to {repository.name}"
        stack.enter_context(exclusive(repository, waiting=partial(progress.step, message)))
        repository.mkdir(parents=True, exist_ok=True)  # the last holder may have removed it
        recover(repository)
        staging = stack.enter_context(_staging(repository))
        stack.callback(_forget, repository / staging.name)
        (staging / "new").mkdir()
        yield Transaction(repository, staging, lockfile.read(repository))


@contextmanager
def _existing(folder: Path) -> Iterator[None]:
    """Create ``folder`` and its parents; remove new ones that stay empty."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()


def recover(repository: Path) -> None:
    """Complete or undo changes of killed runs. Call with exclusive access."""
    stem = repository.name
    places = [repository.parent, repository, *(p for p in repository.iterdir() if p.is_dir())]
    with uninterrupted():
        for place in places:
            with contextlib.suppress(OSError):
                sweep(place, stem, before=lambda folder: _finish(repository, folder))


def _finish(repository: Path, staging: Path) -> None:
    if (staging / _JOURNAL).exists():
        _apply(repository, staging)


@contextmanager
def _staging(repository: Path) -> Iterator[Path]:
    """Yield a scratch directory from which a rename into ``repository`` works.

    Next to the repository if possible. This fails for a mount point: then inside a model, where
    Triton ignores a directory that is not named like a version, or at the root of an empty
    repository.
    """
    stem = repository.name
    if _can_rename(repository.parent, repository):
        with scratch(repository.parent, stem) as folder:
            yield folder
        return
    hosts = [path.parent for path in repository.glob("*/config.pbtxt")]
    with scratch(min(hosts, default=repository), stem) as folder:
        yield folder


def _can_rename(source: Path, target: Path) -> bool:
    """Whether a rename between two directories works, tested with a file (not a model)."""
    name = f".trtbuild-probe-{secrets.token_hex(4)}"
    try:
        (source / name).touch()
    except OSError:
        return False
    try:
        (source / name).rename(target / name)
    except OSError:
        return False
    finally:
        for folder in (source, target):
            with contextlib.suppress(OSError):
                (folder / name).unlink()
    return True


def _forget(folder: Path) -> None:
    """Remove the staging directory if a commit moved it."""
    import shutil

    if MARK in folder.name and folder.is_dir():
        with uninterrupted():
            shutil.rmtree(folder, ignore_errors=True)


def _apply(repository: Path, staging: Path) -> None:
    """Complete the renames of a journal; undo all if one fails."""
    journal = json.loads((staging / _JOURNAL).read_bytes())
    undo: list[Callable[[], object]] = []
    try:
        for name, inode in journal["place"].items():
            _place(staging / "new" / name, repository / name, inode, undo)
        for name in journal["remove"]:
            _move(repository / name, staging / "old" / name, undo)
        _move(staging / LOCK_NAME, repository / LOCK_NAME, undo)
    except OSError:
        for back in reversed(undo):
            with contextlib.suppress(OSError):
                back()
        (staging / _JOURNAL).unlink(missing_ok=True)
        raise


def _place(new: Path, target: Path, inode: int, undo: list[Callable[[], object]]) -> None:
    if target.exists() and target.stat().st_ino == inode:
        return
    if os.path.lexists(target):
        exchange(new, target)
        undo.append(lambda: exchange(new, target))
    else:
        new.rename(target)
        undo.append(lambda: target.rename(new))


def _move(source: Path, target: Path, undo: list[Callable[[], object]]) -> None:
    if os.path.lexists(source):
        source.replace(target)
        undo.append(lambda: source.exists() or target.rename(source))

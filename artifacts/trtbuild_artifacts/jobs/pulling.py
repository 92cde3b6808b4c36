"""Pull a repository: resume, verify every file, swap the directory in one step."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trtbuild import lockfile
from trtbuild.errors import RepositoryError, TrtbuildError, UsageError
from trtbuild.lockfile import LOCK_NAME, Lock
from trtbuild.progress import SILENT, Progress
from trtbuild.resources import expanded
from trtbuild_artifacts.jobs.present import Present
from trtbuild_artifacts.jobs.staging import Staging, staging
from trtbuild_artifacts.listing import Listing
from trtbuild_artifacts.listing import parse as parse_listing
from trtbuild_artifacts.reference import Reference, parse
from trtbuild_artifacts.seam import Remote, Store, open_store


@dataclass(frozen=True, slots=True)
class Pulled:
    """The result of a pull.

    Attributes:
        version: What was pulled and cannot move.
        url: The URL with that version.
        directory: Where it lies.
        models: The models in it.
        received: Bytes that were downloaded.
        reused: Bytes taken from what was there before.
        moved_to: What the tag means now, if it was moved during the pull.
        edited: Files that were pushed although they differ from the lock.
    """

    version: str
    url: str
    directory: Path
    models: tuple[str, ...]
    received: int
    reused: int
    moved_to: str = ""
    edited: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """A pushed repository that was looked up: where, what of it cannot move, and what is in it."""

    reference: Reference
    store: Store
    remote: Remote
    listing: Listing

    @property
    def where(self) -> str:
        """The URL that cannot move."""
        return str(self.reference.pinned(self.remote.version))


def pull(
    url: str,
    target: Path,
    *,
    only: Sequence[str] = (),
    force: bool = False,
    progress: Progress = SILENT,
) -> Pulled:
    """Make ``target`` the repository that a URL means.

    The tag is looked up once, so a tag that moves meanwhile changes nothing. Files that ``target``
    has already are not downloaded. After an error ``target`` is as it was, and the next pull
    continues with what was received.

    Args:
        url: What to pull.
        target: The directory, new or pulled before.
        only: Only these models; empty: all.
        force: Replace files in ``target`` that were changed by hand.
        progress: Told while files are downloaded and verified.

    Raises:
        UsageError: No such URL or model; ``target`` has other things in it.
        RepositoryError: What is stored contradicts itself or would lead out of ``target``.
        BuildError: The store cannot be reached; the disk is full; a file is damaged.
    """
    return take(look_up(url, progress), target, only=only, force=force, progress=progress)


def look_up(url: str, progress: Progress = SILENT) -> Opened:
    """Look a URL up once. Raises as :func:`pull`."""
    reference = parse(url)
    store = open_store(reference)
    progress.step("looking up the URL")
    remote = store.resolve(reference)
    where = str(reference.pinned(remote.version))
    return Opened(reference, store, remote, parse_listing(remote.listing(), where))


def take(
    opened: Opened,
    target: Path,
    *,
    only: Sequence[str] = (),
    force: bool = False,
    beside: Sequence[Path] = (),
    progress: Progress = SILENT,
) -> Pulled:
    """:func:`pull` of what was looked up; ``beside`` are other directories with files of it."""
    remote = opened.remote
    target = expanded(target).resolve()
    if target.is_mount():
        raise UsageError(
            f"{str(target)!r} is a mount point, so it cannot be replaced in one step",
            fix=f"name a directory in it: {target / 'models'}",
        )
    with staging(target, opened.listing, progress) as stage:
        try:
            present = Present.read(target, progress)
            listing = _wanted(stage, opened, only, present)
            present.require_replaceable(listing, force=force)
        except (UsageError, RepositoryError):
            stage.discard()
            raise
        if present.is_exactly(listing):
            stage.discard()
        else:
            for each in (present, *(Present.read(other, progress) for other in beside)):
                stage.reuse(each.target, each.files)
            stage.require_space()
            if stage.missing:
                progress.step("downloading")
                remote.fetch(stage)
            stage.finish()
    return Pulled(
        remote.version,
        opened.where,
        target,
        tuple(sorted(listing.models)),
        stage.received,
        stage.reused,
        _moved(opened),
        listing.edited,
    )


def _wanted(stage: Staging, opened: Opened, only: Sequence[str], present: Present) -> Listing:
    """Get the lock, compare it with the listing, and tell the stage which files are wanted."""
    stored, remote = opened.listing, opened.remote
    if LOCK_NAME not in stored.files:
        listing = stored.only(only, b"") if only else stored
        stage.want(listing, {})
        return listing
    stage.want(stored, {})
    if LOCK_NAME in stage.missing:
        stage.missing = {LOCK_NAME}
        stage.reuse(present.target, present.files)
        if stage.missing:
            remote.fetch(stage)
    content = stage.read(LOCK_NAME)
    lock = lockfile.parse(content, Path(LOCK_NAME))
    _compare(lock, stored, remote.version)
    if not only:
        stage.want(stored, {})
        return stored
    models = {name: one for name, one in lock.models.items() if name in only}
    reduced = lockfile.render(Lock(models))
    listing = stored.only(only, reduced)
    stage.want(listing, {LOCK_NAME: reduced})
    return listing


def _compare(lock: Lock, listing: Listing, where: str) -> None:
    """RepositoryError if the listing and the lock contradict each other."""
    locked = {path: one for model in lock.models.values() for path, one in model.files.items()}
    wrong = [
        path
        for path, one in sorted(locked.items())
        if path not in listing.edited
        and (path not in listing.files or listing.files[path].sha256 != one.sha256)
    ]
    if wrong:
        raise RepositoryError(
            "the pushed files are not those of their lock",
            where=where,
            details=tuple(wrong[:10]),
            fix="push the repository again, and trust only stores that you control",
        )


def _moved(opened: Opened) -> str:
    """What the tag means now, if that is something else. The pull is complete either way."""
    if opened.reference.digest:
        return ""
    with suppress(TrtbuildError):
        now = opened.store.resolve(opened.reference).version
        return now if now != opened.remote.version else ""
    return ""

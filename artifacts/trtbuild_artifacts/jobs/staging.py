"""Files on their way into a directory: kept beside it, so that an interrupted pull continues."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from trtbuild.endings import uninterrupted
from trtbuild.errors import BuildError
from trtbuild.files import (
    LINKABLE_BYTES,
    clone_file,
    digest_all,
    disk_trouble,
    exchange,
    exclusive,
    require_space,
    sweep,
)
from trtbuild.files.staging import MARK, sync_folder, sync_tree, write_synced
from trtbuild.progress import Progress
from trtbuild_artifacts.listing import LISTING_NAME, Listing
from trtbuild_artifacts.seam import Read

_KEPT = "what was received is kept, so the same command continues with it"


@contextmanager
def staging(target: Path, stored: Listing, progress: Progress) -> Iterator[Staging]:
    """The files of a pushed repository on their way into ``target``, for one process at a time."""
    stem = f"{target.name}.pulling"
    with disk_trouble(target.parent):
        folder = target.parent / f".{stem}{MARK}{stored.digest[-12:]}"
        folder.mkdir(parents=True, exist_ok=True)
        waiting = "waiting for another pull into the same directory"
        with exclusive(folder, waiting=lambda: progress.step(waiting)):
            yield Staging(target, folder, stored, progress)
        sweep(target.parent, stem)


class Staging:
    """A :class:`~trtbuild_artifacts.seam.Sink`.

    Attributes:
        missing: Paths that are wanted and not here yet.
        received: Bytes that were downloaded.
        reused: Bytes that were here already.
    """

    def __init__(self, target: Path, folder: Path, listing: Listing, progress: Progress) -> None:
        self.folder = folder / "own"
        self.missing: set[str] = set()
        self.received = self.reused = 0
        self._received: dict[str, str] = {}  # path by SHA-256
        self._target, self._listing, self._progress = target, listing, progress
        self._files, self._parts = folder / "files", folder / "parts"
        self._total = 0
        for each in (self.folder, self._files, self._parts):
            each.mkdir(parents=True, exist_ok=True)

    def want(self, listing: Listing, contents: Mapping[str, bytes]) -> None:
        """Want the files of ``listing``; ``contents`` are those that are made here.

        Whatever else an earlier pull left is removed.
        """
        self._listing = listing
        for path in sorted(self._files.rglob("*"), reverse=True):  # directories after their files
            entry = listing.files.get(path.relative_to(self._files).as_posix())
            if path.is_dir():
                with suppress(OSError):  # it is not empty
                    path.rmdir()
            elif entry is None or path.stat().st_size != entry.size:
                path.unlink()
        for name, content in contents.items():
            write_synced(self._new(name), content)
        self.missing = {path for path in listing.files if not (self._files / path).is_file()}

    def reuse(self, folder: Path, present: Mapping[str, str]) -> None:
        """Take what a directory has already; ``present`` are its files with their SHA-256."""
        by_sha256 = {sha256: path for path, sha256 in present.items()}
        for path in sorted(self.missing):
            entry = self._listing.files[path]
            found = (present.get(path) == entry.sha256 and path) or by_sha256.get(entry.sha256)
            if found:
                clone_file(folder / found, self._new(path))
                self.reused += entry.size
                self.missing.discard(path)

    def require_space(self) -> None:
        """BuildError if the disk has too little space for what is missing."""
        entries = [self._listing.files[path] for path in self.missing]
        self._total = sum(entry.size for entry in entries)
        parts = (self._parts / entry.sha256 for entry in entries)
        have = sum(part.stat().st_size for part in parts if part.is_file())
        require_space(self._target.parent, max(0, self._total - have))

    def receive(self, path: str, read: Read) -> None:
        """Write a file from where an earlier pull ended. BuildError if it ends too early."""
        entry = self._listing.files[path]
        if twin := self._received.get(entry.sha256):
            clone_file(self._files / twin, self._new(path))
            self.missing.discard(path)
            return
        part = self._parts / entry.sha256
        have = part.stat().st_size if part.is_file() else 0
        if have > entry.size:
            part.unlink()
            have = 0
        self.received -= have
        with disk_trouble(self._target.parent, _KEPT), part.open("ab") as stream:
            for chunk in read(have) if have < entry.size else ():
                stream.write(chunk)
                have += len(chunk)
                self._progress.advance(self.received + have, self._total)
        self.received += have
        if have < entry.size:
            raise BuildError(
                f"{path} is truncated: the store sent {have:,} of {entry.size:,} bytes",
                fix="run the command again to continue; if that fails, push the repository again",
            )
        self._take(path, part)
        self._received[entry.sha256] = path

    def place(self, path: str, file: Path) -> None:
        """Take over a file that a store downloaded into :attr:`folder`."""
        self.received += file.stat().st_size
        self._progress.advance(self.received, self._total)
        self._take(path, file)

    def _take(self, path: str, file: Path) -> None:
        with disk_trouble(self._target.parent, _KEPT):
            file.replace(self._new(path))
        self.missing.discard(path)

    def read(self, path: str) -> bytes:
        """A file that was received, verified. BuildError."""
        self._verify({path: self._files / path})
        return (self._files / path).read_bytes()

    def finish(self) -> None:
        """Verify every file, then put the directory in place, in one step."""
        if self.missing:
            raise BuildError(
                f"the store does not have {min(self.missing)!r}, which the listing names",
                fix="push the repository again",
            )
        self._progress.step("verifying")
        self._verify({path: self._files / path for path in self._listing.files})
        for path, entry in self._listing.files.items():
            if (file := self._files / path).stat().st_size < LINKABLE_BYTES or entry.executable:
                file.chmod(0o755 if entry.executable else 0o644)
        for path in self._listing.folders:
            (self._files / path).mkdir(parents=True, exist_ok=True)
        write_synced(self._files / LISTING_NAME, self._listing.content)
        self._swap()

    def discard(self) -> None:
        """Remove what was received."""
        shutil.rmtree(self._files.parent, ignore_errors=True)

    def _swap(self) -> None:
        sync_tree(self._files)  # before the rename, or a power failure could leave empty files
        with uninterrupted():
            if self._target.exists():
                exchange(self._files, self._target)
            else:
                self._files.rename(self._target)
            sync_folder(self._target.parent)
        self.discard()

    def _verify(self, files: Mapping[str, Path]) -> None:
        """Compare with the listing; what differs is removed, so that it is received again."""
        found = digest_all(files, self._progress)
        wrong = sorted(p for p, sha256 in found.items() if sha256 != self._listing.files[p].sha256)
        for path in wrong:
            files[path].unlink()
        if wrong:
            raise BuildError(
                "files are damaged: their SHA-256 is not that of the listing",
                details=tuple(wrong[:10]),
                fix="run the command again to download them again; if that does not help, push the "
                "repository again",
            )

    def _new(self, path: str) -> Path:
        """A path whose directory exists and that is free."""
        file = self._files / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        return file

"""The directory of files and batches.

Each object is one JSON file that is written at once, so that a restart finds what there was. It
belongs to the caller who made it; for everybody else it does not exist.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec

from trtbuild.errors import BuildError
from trtbuild.files import atomic_write, disk_trouble
from trtbuild_gateway.failures import ApiError

OPEN = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
"""States that a batch does not stay in."""
_FILES, _BATCHES = "files", "batches"
_OWNER = "_owner"
_PIECE_BYTES = 1 << 18
_WORKING = frozenset({".grant", ".journal"})
"""Endings of what a batch needs until its end."""
_SWEPT = re.compile(
    r"\.?(file-|batch_)[0-9a-f]{30}\.(data|grant|journal|(json|grant)\.trtbuild-[0-9a-f]+)"
)
_ABANDONED_SECONDS = 3600
"""Age of a file without an object that no gateway can still be writing."""


class Batches(Protocol):
    """The batches of a gateway, and whoever computes them."""

    @property
    def store(self) -> Store:
        """Where they are kept."""

    def wake(self) -> None:
        """Look for new batches."""

    def cancel(self, name: str) -> None:
        """End a batch that is being computed; what is done of it is kept."""


class Store:
    """Files and batches in a directory, which is made if it is not there.

    What a killed gateway left behind there is removed.

    Raises:
        BuildError: The directory cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._uploading = threading.Lock()
        with disk_trouble(folder):
            for name in (_FILES, _BATCHES):
                (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            self._sweep()

    def add_file(
        self, pieces: Iterable[bytes], filename: str, purpose: str, owner: str
    ) -> dict[str, Any]:
        """Keep a file and return its object. ApiError 507 if the disk is full."""
        name = f"file-{_new_id()}"
        size = _write_pieces(self.data_of(name), pieces)
        made = {
            "id": name,
            "object": "file",
            "bytes": size,
            "created_at": int(time.time()),
            "filename": filename,
            "purpose": purpose,
            "status": "processed",
        }
        self._save(_FILES, made, owner)
        return made

    def upload(self, stream: BinaryIO, filename: str, owner: str, most: int) -> dict[str, Any]:
        """Keep a file for a batch, with those of its owner at most ``most`` bytes.

        Raises:
            ApiError: There is no room for it (413), or the disk is full (507).
        """
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        pieces = iter(lambda: stream.read(_PIECE_BYTES), b"")
        with self._uploading:
            self.require_room(owner, most, size)
            return self.add_file(pieces, filename, "batch", owner)

    def require_room(self, owner: str, most: int, more: int = 1) -> None:
        """Raise ApiError 413 unless the owner's files may get ``more`` bytes."""
        used = sum(int(one["bytes"]) for one in self.files(owner))
        if used + more > most:
            raise ApiError(
                413,
                f"your files have {used:,} bytes of the {most:,} that they may have; delete some "
                "that you no longer need",
                code="storage_quota",
            )

    def add_batch(self, given: dict[str, Any], owner: str, grant: bytes = b"") -> dict[str, Any]:
        """Keep a new batch, with what lets its owner be known again, and return its object."""
        made = {"id": f"batch_{_new_id()}", "object": "batch", **given}
        if grant:
            _write(self._grant_of(made["id"]), grant)
        self._save(_BATCHES, made, owner)
        return made

    def save_batch(self, batch: dict[str, Any], owner: str) -> None:
        """Write a batch that has changed; at its end nobody needs to be known again."""
        self._save(_BATCHES, batch, owner)
        if batch["status"] not in OPEN:
            self._grant_of(batch["id"]).unlink(missing_ok=True)

    def file(self, name: str, owner: str) -> dict[str, Any]:
        """Return a file's object; ApiError 404 unless it is the owner's."""
        return self._owned(_FILES, name, owner)

    def batch(self, name: str, owner: str) -> dict[str, Any]:
        """Return a batch's object; ApiError 404 unless it is the owner's."""
        return self._owned(_BATCHES, name, owner)

    def files(self, owner: str) -> list[dict[str, Any]]:
        """Return the owner's files, the newest first."""
        return self._listed(_FILES, owner)

    def batches(self, owner: str) -> list[dict[str, Any]]:
        """Return the owner's batches, the newest first."""
        return self._listed(_BATCHES, owner)

    def unfinished(self) -> list[tuple[str, str]]:
        """Return id and owner of the batches that are not at their end, the oldest first."""
        found = [one for one in self._all(_BATCHES) if one.get("status") in OPEN]
        found.sort(key=lambda one: (int(one.get("created_at", 0)), str(one["id"])))
        return [(str(one["id"]), str(one[_OWNER])) for one in found]

    def remove_file(self, name: str) -> None:
        """Remove a file and its object."""
        self._object(_FILES, name).unlink(missing_ok=True)
        self.data_of(name).unlink(missing_ok=True)

    def data_of(self, name: str) -> Path:
        """The content of a file."""
        return self._folder / _FILES / f"{name}.data"

    def journal_of(self, name: str) -> Path:
        """What is done of a batch."""
        return self._folder / _BATCHES / f"{name}.journal"

    def grant_of(self, name: str) -> bytes:
        """What lets the owner of a batch be known again; empty if the id suffices."""
        try:
            return self._grant_of(name).read_bytes()
        except FileNotFoundError:
            return b""

    def _sweep(self) -> None:
        """Remove what a batch at its end no longer needs, and files that never got an object."""
        for path in (*self._folder.glob(f"{_FILES}/*"), *self._folder.glob(f"{_BATCHES}/*")):
            if not _SWEPT.fullmatch(path.name):  # an object, or nothing of ours
                continue
            kept = path.with_suffix(".json")
            with contextlib.suppress(FileNotFoundError):  # another gateway sweeps, too
                if not kept.exists():
                    gone = path.stat().st_mtime < time.time() - _ABANDONED_SECONDS
                else:  # an object that cannot be read tells nothing
                    found = self._read(kept) if path.suffix in _WORKING else None
                    gone = found is not None and found.get("status") not in OPEN
                if gone:
                    path.unlink()

    def _grant_of(self, name: str) -> Path:
        return self._folder / _BATCHES / f"{name}.grant"

    def _owned(self, kind: str, name: str, owner: str) -> dict[str, Any]:
        found = self._read(self._object(kind, name)) if _sound(name) else None
        if found is None or found.pop(_OWNER) != owner:
            what = "file" if kind == _FILES else "batch"
            raise ApiError(404, f"there is no {what} {name!r}", code=f"{what}_not_found")
        return found

    def _listed(self, kind: str, owner: str) -> list[dict[str, Any]]:
        found = [one for one in self._all(kind) if one.pop(_OWNER) == owner]
        return sorted(found, key=lambda one: (one["created_at"], one["id"]), reverse=True)

    def _all(self, kind: str) -> Iterator[dict[str, Any]]:
        for path in (self._folder / kind).glob("*.json"):
            if not path.name.startswith(".") and (found := self._read(path)) is not None:
                yield found

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        except (OSError, msgspec.DecodeError):
            return None
        return found if _OWNER in found else None

    def _object(self, kind: str, name: str) -> Path:
        return self._folder / kind / f"{name}.json"

    def _save(self, kind: str, value: dict[str, Any], owner: str) -> None:
        _write(self._object(kind, str(value["id"])), msgspec.json.encode({**value, _OWNER: owner}))


def _new_id() -> str:
    """Return an id that sorts by time: `created_at` counts whole seconds only."""
    return f"{time.time_ns() // 1000:014x}{secrets.token_hex(8)}"


def _sound(name: str) -> bool:
    """Whether it can be a name of ours, and no path."""
    return name.replace("-", "").replace("_", "").isalnum() and name.isascii()


def _write(path: Path, content: bytes) -> None:
    with _storing(path):
        atomic_write(path, content, mode=0o600)  # prompts are nobody else's business


def _write_pieces(path: Path, pieces: Iterable[bytes]) -> int:
    """Write a file that nobody knows yet, and wait until the disk has it; return its size."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        with _storing(path), os.fdopen(os.open(path, flags, 0o600), "wb") as stream:
            stream.writelines(pieces)
            stream.flush()
            os.fsync(stream.fileno())
        return path.stat().st_size
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


@contextlib.contextmanager
def _storing(path: Path) -> Iterator[None]:
    try:
        with disk_trouble(path.parent):
            yield
    except BuildError as error:
        raise ApiError(507, error.what, code="storage_full") from None

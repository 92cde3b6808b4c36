"""The listing of a pushed repository: every file with its SHA-256, grouped by model.

It is stored with the files as ``trtbuild.listing.json``. The SHA-256 of its bytes identifies the
content: equal repositories have the same one in every store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from trtbuild.errors import RepositoryError, UsageError
from trtbuild.lockfile import LOCK_NAME

LISTING_NAME = "trtbuild.listing.json"
VERSION = 1
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file: SHA-256 in hex, size in bytes, whether it may be run as a program."""

    sha256: str
    size: int
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """What a pushed repository consists of.

    Attributes:
        models: Directories by model; a model of an ensemble is part of it.
        files: By path relative to the repository, with ``/``.
        folders: Empty directories, which Triton needs as versions of an ensemble.
        edited: Files that were changed by hand, so that the lock has another SHA-256.
    """

    models: Mapping[str, tuple[str, ...]]
    files: Mapping[str, Entry]
    folders: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    _rendered: list[bytes] = field(default_factory=list, compare=False, repr=False)

    @property
    def content(self) -> bytes:
        """Its bytes: the same listing gives the same bytes on every machine."""
        if not self._rendered:
            self._rendered.append(_render(self))
        return self._rendered[0]

    @property
    def digest(self) -> str:
        """``sha256:…`` of :attr:`content`."""
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    @property
    def lock_sha256(self) -> str:
        """The SHA-256 of the lock file; empty if the repository has none."""
        entry = self.files.get(LOCK_NAME)
        return entry.sha256 if entry else ""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files.values())

    def owner(self, path: str) -> str:
        """The model that a file belongs to; empty for the lock."""
        top = path.partition("/")[0]
        return next((name for name, folders in self.models.items() if top in folders), "")

    def only(self, models: Iterable[str], lock: bytes) -> Listing:
        """The listing of these models alone, with ``lock`` as their lock.

        Raises:
            UsageError: There is no such model.
        """
        wanted = tuple(models)
        if unknown := [name for name in wanted if name not in self.models]:
            raise UsageError(
                f"the pushed repository has no model {unknown[0]!r}",
                fix=f"it has {', '.join(self.models)}",
            )
        files = {path: one for path, one in self.files.items() if self.owner(path) in wanted}
        if LOCK_NAME in self.files:
            files[LOCK_NAME] = Entry(hashlib.sha256(lock).hexdigest(), len(lock))
        return replace(
            self,
            models={name: self.models[name] for name in wanted},
            files=files,
            folders=tuple(path for path in self.folders if self.owner(path) in wanted),
            edited=tuple(path for path in self.edited if self.owner(path) in wanted),
            _rendered=[],
        )


def _render(listing: Listing) -> bytes:
    files = {path: _as_dict(entry) for path, entry in listing.files.items()}
    document = {
        "version": VERSION,
        "models": listing.models,
        "files": files,
        "folders": sorted(listing.folders),
        "edited": sorted(listing.edited),
    }
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, default=list)
    return f"{text}\n".encode()


def _as_dict(entry: Entry) -> dict[str, object]:
    found: dict[str, object] = {"sha256": entry.sha256, "size": entry.size}
    return {**found, "executable": True} if entry.executable else found


def parse(content: bytes, where: str) -> Listing:
    """A listing from its bytes, which come from anyone.

    Raises:
        RepositoryError: Not a listing, of a newer trtbuild, or with a path that leads out of the
            directory.
    """
    try:
        document = json.loads(content)
        if document["version"] != VERSION:
            raise _unusable(where, f"its version is {document['version']!r}, not {VERSION}")
        models = {str(name): tuple(map(str, value)) for name, value in document["models"].items()}
        files = {str(path): _entry(value) for path, value in document["files"].items()}
        folders = tuple(map(str, document["folders"]))
        edited = tuple(map(str, document["edited"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _unusable(where, f"{type(error).__name__}: {error}") from None
    listing = Listing(models, files, folders, edited, [content])
    _check_paths(listing, where)
    return listing


def _entry(value: Mapping[str, Any]) -> Entry:
    sha256, size = value["sha256"], value["size"]
    if not isinstance(sha256, str) or len(sha256) != 64 or not set(sha256) <= _HEX:
        raise ValueError("a SHA-256 is not 64 hex digits")
    if not isinstance(size, int) or size < 0:
        raise ValueError("a size is not a number of bytes")
    return Entry(sha256, size, value.get("executable") is True)


def _check_paths(listing: Listing, where: str) -> None:
    """Refuse paths that leave the directory, that are files and directories at once, and files
    outside every model."""
    paths = [*listing.files, *listing.folders]
    for path in paths:
        if not is_safe(path):
            raise _unusable(where, f"the path {path!r} leads out of the directory")
        if path != LOCK_NAME and not listing.owner(path):
            raise _unusable(where, f"{path!r} belongs to no model")
    above = {"/".join(parts[:end]) for parts in map(_split, paths) for end in range(1, len(parts))}
    if both := above.intersection(listing.files):
        raise _unusable(where, f"{min(both)!r} is both a file and a directory")


def _split(path: str) -> list[str]:
    return path.split("/")


def is_safe(path: str) -> bool:
    """Whether a relative path stays below its directory on every system, and can be written."""
    if not path or any("\ud800" <= sign <= "\udfff" for sign in path):  # a name that is not UTF-8
        return False
    return not any(
        part in ("", ".", "..") or "\\" in part or "\0" in part or ":" in part
        for part in path.split("/")
    )


def _unusable(where: str, why: str) -> RepositoryError:
    return RepositoryError(
        f"the listing of the pushed repository cannot be used: {why}",
        where=where,
        fix="push the repository again with this version of trtbuild, and trust only stores "
        "that you control",
    )

"""Stores of a checkpoint's files: a small protocol, and its local implementation."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trtbuild.checkpoint.layout import is_wanted
from trtbuild.checkpoint.problems import refuse_large
from trtbuild.errors import UsageError
from trtbuild.files import explain_stand_ins, is_web_page, stand_in


class Store(Protocol):
    """Lists and reads files; implemented for directories, the hub and GGUF files."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of every file, by its name relative to the checkpoint."""

    def read(self, name: str) -> bytes:
        """Read a small file. Raises UnsupportedError if it is too large for metadata."""

    def read_range(self, name: str, begin: int, length: int) -> bytes:
        """``length`` bytes from ``begin``, fewer at the file's end."""

    def path(self, name: str) -> Path | None:
        """Return the file's path on this machine, None if it is not there (yet)."""

    def stand_ins(self, names: Iterable[str]) -> Sequence[tuple[str, str]]:
        """Return problem and fix for ``names`` that are Git LFS pointers or broken links."""

    def sha256(self, name: str) -> str:
        """Return the digest that the source declares, or ``""``."""


@dataclass(frozen=True)
class LocalStore:
    """A directory."""

    root: Path
    sizes: Mapping[str, int]
    """A broken link has 0 bytes here."""

    def read(self, name: str) -> bytes:
        refuse_large(name, self.sizes[name])
        return self._open(name, 0, self.sizes[name])

    def read_range(self, name: str, begin: int, length: int) -> bytes:
        return self._open(name, begin, length)

    def path(self, name: str) -> Path | None:
        return self.root / name if name in self.sizes else None

    def stand_ins(self, names: Iterable[str]) -> Sequence[tuple[str, str]]:
        kinds = {name: stand_in(self.root / name) for name in names}
        kinds |= {name: "page" for name in kinds if is_web_page(self.root / name)}
        return explain_stand_ins({n: kind for n, kind in kinds.items() if kind}, self.root)

    def sha256(self, name: str) -> str:  # noqa: ARG002 - a directory declares no digests
        return ""

    def _open(self, name: str, begin: int, length: int) -> bytes:
        try:
            with (self.root / name).open("rb") as file:
                file.seek(begin)
                return file.read(length)
        except OSError as error:
            raise UsageError(
                f"cannot read {name}: {error.strerror}",
                where=str(self.root),
                fix="check the permissions of the checkpoint's files",
            ) from None


def list_folder(root: Path) -> LocalStore:
    """List the possible checkpoint files in ``root``; symlinks are followed."""
    sizes: dict[str, int] = {}
    try:
        for entry in os.scandir(root):
            if _is_folder(entry) and not entry.name.startswith("."):
                sizes |= _subfolder(root, entry.name)
            elif is_wanted(entry.name):
                sizes |= _sized(entry, entry.name)
    except OSError as error:
        raise UsageError(
            f"cannot read the directory {root.name}: {error.strerror}",
            where=str(root),
            fix="check its permissions",
        ) from None
    return LocalStore(root, sizes)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # circular links
        return False


def _sized(entry: os.DirEntry[str], name: str) -> dict[str, int]:
    """Return ``name`` with its size, 0 for a broken link; nothing if it is not a file."""
    try:
        if entry.is_file():
            return {name: entry.stat().st_size}
        broken = entry.is_symlink() and not entry.is_dir()
    except OSError:
        broken = entry.is_symlink()
    return {name: 0} if broken else {}


def _subfolder(root: Path, folder: str) -> dict[str, int]:
    """Whether to list a directory: sentence-transformers keep modules one level down."""
    sizes: dict[str, int] = {}
    for entry in os.scandir(root / folder):
        name = f"{folder}/{entry.name}"
        if is_wanted(name):
            sizes |= _sized(entry, name)
    return sizes

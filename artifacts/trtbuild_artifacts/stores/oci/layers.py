"""Layers: deterministic, uncompressed tar archives, so that equal files make equal layers.

A model has two: one of its large files, which seldom change, and one of the others. So a changed
config.pbtxt does not move the weights.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from trtbuild.errors import BuildError, RepositoryError
from trtbuild.files import LINKABLE_BYTES, atomic_write
from trtbuild.lockfile import LOCK_NAME
from trtbuild.progress import Progress
from trtbuild.resources import cache_dir
from trtbuild_artifacts.contents import Contents
from trtbuild_artifacts.listing import LISTING_NAME, Entry, Listing, is_safe

ROOT = "models"
"""The directory in the image: that of KServe's modelcars."""
_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a layer: where it is or what is in it."""

    path: str
    entry: Entry
    source: Path | bytes


@dataclass(frozen=True, slots=True)
class Layer:
    """A tar archive that is made while it is read.

    Attributes:
        model: The model it belongs to; empty for the lock and the listing.
        weights: Whether it has the large files.
        members: Its files by path.
        folders: Its empty directories.
    """

    model: str
    weights: bool
    members: tuple[Member, ...]
    folders: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of the archive."""
        files = sum(len(_file_header(one)) + _padded(one.entry.size) for one in self.members)
        return files + sum(len(_folder_header(one)) for one in self._directories()) + 2 * _BLOCK

    @property
    def key(self) -> str:
        """Identifies what decides the digest."""
        parts = [(one.path, one.entry.sha256, one.entry.executable) for one in self.members]
        return hashlib.sha256(json.dumps([parts, self.folders]).encode()).hexdigest()

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the archive. OSError; BuildError if a file changes meanwhile."""
        for folder in self._directories():
            yield _folder_header(folder)
        for member in self.members:
            yield _file_header(member)
            yield from _content(member)
            yield bytes(-member.entry.size % _BLOCK)
        yield bytes(2 * _BLOCK)

    def _directories(self) -> list[str]:
        """Directories in the order in which they must be made."""
        below = [*(one.path for one in self.members), *(f"{path}/" for path in self.folders)]
        found = {ROOT}
        for path in below:
            parts = f"{ROOT}/{path}".split("/")[:-1]
            found |= {"/".join(parts[:end]) for end in range(1, len(parts) + 1)}
        return sorted(found)


def layers_of(contents: Contents) -> list[Layer]:
    """The layers of a repository, by model; the lock and the listing are the last one."""
    listing = contents.listing
    found = []
    for model in sorted(listing.models):
        paths = [path for path in listing.files if listing.owner(path) == model]
        folders = tuple(path for path in listing.folders if listing.owner(path) == model)
        for weights in (True, False):
            members = tuple(
                Member(path, listing.files[path], contents.source(path))
                for path in sorted(paths)
                if (listing.files[path].size >= LINKABLE_BYTES) == weights
            )
            if members or (folders and not weights):
                found.append(Layer(model, weights, members, () if weights else folders))
    return [*found, _root(contents)]


def _root(contents: Contents) -> Layer:
    listing = contents.listing
    own = Entry(listing.digest.removeprefix("sha256:"), len(listing.content))
    members = [Member(LISTING_NAME, own, listing.content)]
    if LOCK_NAME in listing.files:
        members.append(Member(LOCK_NAME, listing.files[LOCK_NAME], contents.source(LOCK_NAME)))
    return Layer("", False, tuple(members))


def digests_of(layers: list[Layer], progress: Progress) -> list[str]:
    """``sha256:…`` of each layer; those of unchanged files are remembered. OSError, BuildError."""
    store = cache_dir("digests", "layers.json")
    known = _remembered(store)
    missing = {layer.key: layer for layer in layers if layer.key not in known}
    total, done = sum(layer.size for layer in missing.values()), 0
    progress.step(f"computing the digests of {len(missing)} layers")
    for key, layer in missing.items():
        sha = hashlib.sha256()
        for chunk in layer.chunks():
            sha.update(chunk)
            done += len(chunk)
            progress.advance(done, total)
        known[key] = f"sha256:{sha.hexdigest()}"
    if missing:
        store.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(store, json.dumps(dict(list(known.items())[-4096:])).encode())
    return [known[layer.key] for layer in layers]


def _remembered(store: Path) -> dict[str, str]:
    try:
        known = json.loads(store.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def members_of(
    stream: io.RawIOBase, listing: Listing, where: str
) -> Iterator[tuple[str, int, int]]:
    """Path, position and size of each file of a layer, which comes from anyone.

    Raises:
        RepositoryError: A link or a device, a path that leads out, a file that the listing does not
            have; or the archive is damaged or truncated.
    """
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r:") as archive:
            for member in archive:
                path = member.name.removeprefix(f"{ROOT}/")
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    raise _refused(where, f"{member.name!r} is not a file but a link or a device")
                if path == member.name or not is_safe(path) or member.size < 0:
                    raise _refused(where, f"{member.name!r} leads out of the directory")
                entry = listing.files.get(path)
                if path != LISTING_NAME and (entry is None or entry.size != member.size):
                    raise _refused(where, f"{path!r} is not in the listing with that size")
                yield path, member.offset_data, member.size
    except (tarfile.TarError, EOFError, ValueError, RecursionError) as error:
        raise BuildError(
            f"a layer is truncated or damaged: {error}",
            where=where,
            fix="push the repository again; if the layer was recompressed on the way, copy images "
            "with `skopeo copy --preserve-digests`",
        ) from None


def _refused(where: str, why: str) -> RepositoryError:
    return RepositoryError(
        f"the layer is refused: {why}",
        where=where,
        fix="no push of trtbuild makes such a layer: do not trust whoever stored it",
    )


def _content(member: Member) -> Iterator[bytes]:
    if isinstance(member.source, bytes):
        yield member.source
        return
    left = member.entry.size
    with member.source.open("rb") as stream:
        while left and (chunk := stream.read(min(_CHUNK, left))):
            left -= len(chunk)
            yield chunk
        if left or stream.read(1):
            raise BuildError(
                f"{member.path} changed while it was read",
                where=str(member.source),
                fix="push when nothing writes into the repository",
            )


def _file_header(member: Member) -> bytes:
    header = tarfile.TarInfo(f"{ROOT}/{member.path}")
    header.size = member.entry.size
    header.mode = 0o755 if member.entry.executable else 0o644
    return header.tobuf(tarfile.PAX_FORMAT)


def _folder_header(path: str) -> bytes:
    header = tarfile.TarInfo(path)
    header.type, header.mode = tarfile.DIRTYPE, 0o755
    return header.tobuf(tarfile.PAX_FORMAT)


def _padded(size: int) -> int:
    return size + -size % _BLOCK

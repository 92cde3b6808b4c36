"""Object stores and directories: files by their SHA-256, listings, and tags that point at listings.

Below the URL's path lie ``blobs/sha256/HEX``, ``listings/HEX.json`` and ``tags/NAME``
(the digest of a listing as text).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from trtbuild.errors import BuildError, UsageError
from trtbuild.progress import SILENT, Progress, counted
from trtbuild_artifacts.contents import Contents
from trtbuild_artifacts.listing import Entry, Listing, parse
from trtbuild_artifacts.reference import Reference
from trtbuild_artifacts.seam import Pushed, PushOptions, Read, Remote, Sink, refuse

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_CHUNK = 4 << 20
_RETRIES = 5


class ObjectStores:
    """S3, Google Cloud Storage, Azure and directories, behind obstore."""

    def push(
        self,
        contents: Contents,
        reference: Reference,
        options: PushOptions = PushOptions(),
        progress: Progress = SILENT,
    ) -> Pushed:
        """Upload the files that the store lacks, then the listing, then the tag."""
        refuse(options, ["layout", "benchmarks"], "an object store")
        bucket = _Bucket(reference, create=True)
        listing = contents.listing
        sources = {entry.sha256: contents.source(p) for p, entry in listing.files.items()}
        entries = {entry.sha256: entry for entry in listing.files.values()}
        progress.step("asking what the store has")
        missing = [one for one in entries.values() if not bucket.has(_blob(one.sha256), one.size)]
        total, done = sum(one.size for one in missing), 0
        if missing:
            progress.step(f"uploading {counted(len(missing), 'file')}")
        for entry in missing:
            with sources[entry.sha256].open("rb") as stream:
                bucket.upload(_blob(entry.sha256), _chunks(stream, entry, progress, done, total))
            done += entry.size
        bucket.write(_listing(listing.digest), listing.content)
        bucket.write(f"tags/{reference.tag}", listing.digest.encode())
        present = sum(one.size for one in entries.values()) - total
        version = listing.digest
        return Pushed(
            version, str(reference.pinned(version)), total + len(listing.content), present
        )

    def resolve(self, reference: Reference) -> Remote:
        """Look the tag up; the digest it has now decides everything else."""
        bucket = _Bucket(reference)
        return ObjectRemote(bucket, reference, reference.digest or bucket.tagged(reference))

    def tag(self, reference: Reference, alias: str) -> str:
        """Write another pointer at the same listing."""
        bucket = _Bucket(reference)
        digest = ObjectRemote(
            bucket, reference, reference.digest or bucket.tagged(reference)
        ).version
        bucket.write(f"tags/{alias}", digest.encode())
        return digest


class ObjectRemote:
    """A pushed repository in an object store, by the digest of its listing."""

    def __init__(self, bucket: _Bucket, reference: Reference, version: str) -> None:
        self._bucket, self.version = bucket, version
        self._where = str(reference.pinned(version))
        content = bucket.read(_listing(version))
        if content is None:
            raise UsageError(f"{self._where} does not exist", fix="check the URL and the digest")
        self._listing: Listing = parse(content, self._where)
        if self._listing.digest != version:
            raise BuildError(
                "the listing is damaged: its SHA-256 does not match its name",
                where=self._where,
                fix="push the repository again",
            )

    def listing(self) -> bytes:
        """The bytes of the listing."""
        return self._listing.content

    def fetch(self, sink: Sink) -> None:
        """Read each missing file."""
        for path in sorted(sink.missing):
            sink.receive(path, self._reader(self._listing.files[path]))

    def _reader(self, entry: Entry) -> Read:
        return lambda offset: self._bucket.chunks(_blob(entry.sha256), offset, entry.size)


class _Bucket:
    """The objects below the path of a URL."""

    def __init__(self, reference: Reference, *, create: bool = False) -> None:
        try:
            from obstore.store import LocalStore, from_url
        except ImportError:
            raise UsageError(
                f"{reference.scheme} URLs need obstore, which is not installed",
                fix="pip install 'trtbuild[stores]'",
            ) from None
        self._reference = reference
        self._store: ObjectStore
        with self._trouble():
            if reference.scheme == "file":
                folder = Path("/", reference.place)
                if not (create or folder.is_dir()):
                    raise _missing(reference)
                self._store = LocalStore(folder, mkdir=True)
            else:
                self._store = from_url(
                    f"{reference.scheme}://{reference.place}",
                    retry_config={"max_retries": _RETRIES},
                )

    def tagged(self, reference: Reference) -> str:
        """The digest that a tag points at. UsageError if there is no such tag."""
        content = self.read(f"tags/{reference.tag}")
        if content is None:
            raise _missing(reference)
        digest = content.decode("ascii", "replace").strip()
        return reference.pinned(digest).checked().digest

    def has(self, path: str, size: int) -> bool:
        """Whether an object exists with that size."""
        import obstore

        try:
            with self._trouble():
                return bool(obstore.head(self._store, path)["size"] == size)
        except FileNotFoundError:
            return False

    def read(self, path: str) -> bytes | None:
        """A small object; None if there is none."""
        import obstore

        try:
            with self._trouble():
                return bytes(obstore.get(self._store, path).bytes())
        except FileNotFoundError:
            return None

    def write(self, path: str, content: bytes) -> None:
        """Write a small object in one step."""
        import obstore

        with self._trouble():
            obstore.put(self._store, path, content)

    def upload(self, path: str, chunks: Iterator[bytes]) -> None:
        """Write an object; readers see all of it or nothing."""
        import obstore

        with self._trouble():
            obstore.put(self._store, path, chunks)

    def chunks(self, path: str, begin: int, end: int) -> Iterator[bytes]:
        """The bytes of an object from ``begin`` to ``end``."""
        import obstore

        try:
            with self._trouble():
                found = obstore.get(self._store, path, options={"range": (begin, end)})
                for chunk in found.stream(min_chunk_size=_CHUNK):
                    yield bytes(chunk)
        except FileNotFoundError:
            raise BuildError(
                f"the store no longer has {path}",
                where=str(self._reference),
                fix="push the repository again",
            ) from None

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        """Convert errors of the store; FileNotFoundError stays."""
        from obstore.exceptions import (
            BaseError,
            NotFoundError,
            PermissionDeniedError,
            UnauthenticatedError,
        )

        try:
            yield
        except (FileNotFoundError, NotFoundError):
            raise FileNotFoundError from None
        except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
            raise BuildError(
                f"{self._reference.scheme}://{self._reference.place} refuses access: "
                f"{_reason(error)}",
                fix="set the provider's own variables or files with an account that may use it, "
                "such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            ) from None
        except (BaseError, OSError, ValueError) as error:
            raise BuildError(
                f"{self._reference.scheme}://{self._reference.place} cannot be reached: "
                f"{_reason(error)}",
                fix="check the URL, the credentials and the network; run the command again to "
                "resume",
            ) from None


def _missing(reference: Reference) -> UsageError:
    return UsageError(
        f"{reference} does not exist", fix="check URL and tag; trtbuild push stores one"
    )


def _chunks(
    stream: BinaryIO, entry: Entry, progress: Progress, done: int, total: int
) -> Iterator[bytes]:
    """A file in pieces, with the progress. BuildError, which ends the upload, if it is not the one
    that was listed: no later push would replace it under its SHA-256."""
    sha = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        sha.update(chunk)
        yield chunk
        done += len(chunk)
        progress.advance(done, total)
    if sha.hexdigest() != entry.sha256:
        raise BuildError(
            "a file changed while it was read",
            where=stream.name,
            fix="push when nothing writes into the repository",
        )


def _reason(error: BaseException) -> str:
    """The first line of a message, which of these libraries have many."""
    return str(error).strip().partition("\n")[0][:300]


def _blob(sha256: str) -> str:
    return f"blobs/sha256/{sha256}"


def _listing(digest: str) -> str:
    return f"listings/{digest.removeprefix('sha256:')}.json"

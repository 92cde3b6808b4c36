"""Object stores and directories: files by their SHA-256, listings, and tags that mean listings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

from trtbuild.errors import BuildError, UsageError
from trtbuild.progress import SILENT, Progress, counted
from trtbuild_artifacts.contents import Contents
from trtbuild_artifacts.listing import Entry, Listing, parse
from trtbuild_artifacts.reference import Reference
from trtbuild_artifacts.seam import Pushed, PushOptions, Read, Remote, Sink, refuse
from trtbuild_artifacts.stores.bucket import Bucket, blob, listing_path, tag_path

_CHUNK = 4 << 20


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
        bucket = Bucket(reference, create=True)
        before = bucket.at(tag_path(reference.tag))
        listing = contents.listing
        sources = {entry.sha256: contents.source(p) for p, entry in listing.files.items()}
        entries = {entry.sha256: entry for entry in listing.files.values()}
        progress.step("asking what the store has")
        missing = [one for one in entries.values() if not bucket.has(one)]
        total, done = sum(one.size for one in missing), 0
        if missing:
            progress.step(f"uploading {counted(len(missing), 'file')}")
        for entry in missing:
            with sources[entry.sha256].open("rb") as stream:
                bucket.upload(entry, _chunks(stream, entry, progress, done, total))
            done += entry.size
        bucket.write(listing_path(listing.digest), listing.content)
        bucket.point(reference.tag, listing.digest, before)
        present = sum(one.size for one in entries.values()) - total
        version = listing.digest
        return Pushed(
            version, str(reference.pinned(version)), total + len(listing.content), present
        )

    def resolve(self, reference: Reference) -> Remote:
        """Look the tag up; the digest it has now decides everything else."""
        bucket = Bucket(reference)
        return ObjectRemote(bucket, reference, reference.digest or bucket.tagged(reference))

    def tag(self, reference: Reference, alias: str) -> str:
        """Write another pointer at the same listing."""
        bucket = Bucket(reference)
        before = bucket.at(tag_path(alias))
        digest = ObjectRemote(
            bucket, reference, reference.digest or bucket.tagged(reference)
        ).version
        bucket.point(alias, digest, before)
        return digest


class ObjectRemote:
    """A pushed repository in an object store, by the digest of its listing."""

    def __init__(self, bucket: Bucket, reference: Reference, version: str) -> None:
        self._bucket, self.version = bucket, version
        self._where = str(reference.pinned(version))
        content = bucket.read(listing_path(version))
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
        return lambda offset: self._bucket.chunks(blob(entry.sha256), offset, entry.size)


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

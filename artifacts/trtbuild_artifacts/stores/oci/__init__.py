"""OCI registries: a repository is an image with all files below ``/models``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trtbuild.errors import RepositoryError, UsageError
from trtbuild.progress import SILENT, Progress, counted
from trtbuild_artifacts.contents import Contents
from trtbuild_artifacts.listing import LISTING_NAME, Listing
from trtbuild_artifacts.listing import parse as parse_listing
from trtbuild_artifacts.reference import Reference
from trtbuild_artifacts.seam import Pushed, PushOptions, Read, Remote, Sink, refuse
from trtbuild_artifacts.stores.oci import image
from trtbuild_artifacts.stores.oci.client import Body, Registry, digest_of
from trtbuild_artifacts.stores.oci.image import Descriptor
from trtbuild_artifacts.stores.oci.layers import digests_of, layers_of, members_of
from trtbuild_artifacts.stores.oci.ranged import BlobFile

_MOST_LISTING_BYTES = 64 << 20
_EMPTY = digest_of(b"")


class OciStore:
    """A registry with the OCI distribution API."""

    def push(
        self,
        contents: Contents,
        reference: Reference,
        options: PushOptions = PushOptions(),
        progress: Progress = SILENT,
    ) -> Pushed:
        """Upload the layers that the registry lacks, then the manifest under the tag."""
        refuse(options, ["benchmarks"], "an OCI registry")
        layout = options.layout or image.IMAGE
        if layout not in image.LAYOUTS:
            raise UsageError(
                f"unknown --layout {layout!r}", fix=f"use {' or '.join(image.LAYOUTS)}"
            )
        registry = Registry(reference)
        layers = layers_of(contents)
        if len(layers) > image.MOST_LAYERS:
            raise UsageError(
                f"{len(contents.listing.models)} models need {len(layers)} layers; an image has at "
                f"most {image.MOST_LAYERS}",
                fix="divide the repository, or use s3://, gs://, az:// or file://",
            )
        # Hashing 100 GB takes minutes; an address or a password that is wrong shows at once.
        progress.step("asking the registry")
        registry.has_blob(_EMPTY)
        digests = digests_of(layers, progress)
        settings = image.config(layout, contents.listing, digests)
        manifest = image.manifest(layout, contents.listing, layers, digests, settings)
        blobs: list[tuple[str, int, Body]] = [
            (digest, layer.size, layer.chunks)
            for layer, digest in zip(layers, digests, strict=True)
        ]
        blobs.append((digest_of(settings), len(settings), lambda: iter((settings,))))
        sent, present = _upload(registry, blobs, progress)
        registry.put_manifest(reference.tag or reference.digest, manifest)
        version = digest_of(manifest)
        return Pushed(version, str(reference.pinned(version)), sent + len(manifest), present)

    def resolve(self, reference: Reference) -> Remote:
        """Look the tag up; the digest it has now decides everything else."""
        return OciRemote(Registry(reference), reference)

    def tag(self, reference: Reference, alias: str) -> str:
        """Store the same manifest under another tag."""
        registry = Registry(reference)
        content, digest = registry.manifest(reference.tag or reference.digest)
        image.parse(content, str(reference))
        registry.put_manifest(alias, content)
        return digest


class OciRemote:
    """An image in a registry, by digest."""

    def __init__(self, registry: Registry, reference: Reference) -> None:
        self._registry = registry
        content, self.version = registry.manifest(reference.digest or reference.tag)
        self._where = str(reference.pinned(self.version))
        self._digest, self._layers = image.parse(content, self._where)
        self._listing: Listing | None = None

    def listing(self) -> bytes:
        """The listing, out of the layer with the lock, checked against the manifest."""
        return self._known().content

    def fetch(self, sink: Sink) -> None:
        """Read the layers of models of which files are missing, small layers first."""
        listing = self._known()
        for layer in sorted(self._layers, key=lambda one: one.size):
            if layer.model not in {listing.owner(path) for path in sink.missing}:
                continue
            with self._file(layer) as blob:
                for path, offset, size in members_of(blob, listing, self._where):
                    if path in sink.missing:
                        sink.receive(path, _reader(blob, offset, offset + size))

    def _known(self) -> Listing:
        if self._listing is None:
            content = self._read_listing()
            if digest_of(content) != self._digest:
                raise RepositoryError(
                    "the listing does not have the SHA-256 that the manifest names",
                    where=self._where,
                    fix="push the repository again",
                )
            self._listing = parse_listing(content, self._where)
        return self._listing

    def _read_listing(self) -> bytes:
        """The first file of the layer that belongs to no model."""
        root = next((one for one in self._layers if not one.model), None)
        if root is None:
            return b""
        with self._file(root) as blob:
            for path, offset, size in members_of(blob, Listing({}, {}), self._where):
                if path == LISTING_NAME and size <= _MOST_LISTING_BYTES:
                    return b"".join(blob.chunks(offset, offset + size))
        return b""

    def _file(self, layer: Descriptor) -> BlobFile:
        return BlobFile(self._registry, layer.digest, layer.size)


def _reader(blob: BlobFile, begin: int, end: int) -> Read:
    return lambda offset: blob.chunks(begin + offset, end)


def _upload(
    registry: Registry, blobs: Sequence[tuple[str, int, Body]], progress: Progress
) -> tuple[int, int]:
    """Upload what the registry lacks; return the bytes sent and those it had."""
    progress.step("asking what the registry has")
    missing = {
        digest: (size, body) for digest, size, body in blobs if not registry.has_blob(digest)
    }
    total = sum(size for size, _ in missing.values())
    present = sum(size for digest, size, _ in blobs if digest not in missing)
    done = 0
    if missing:
        progress.step(f"uploading {counted(len(missing), 'layer')}")
    for digest, (size, body) in missing.items():
        registry.put_blob(digest, size, _told(body, progress, done, total))
        done += size
    return done, present


def _told(body: Body, progress: Progress, done: int, total: int) -> Body:
    """``body`` that says how far it is."""

    def chunks() -> Iterator[bytes]:
        sent = done
        for chunk in body():
            yield chunk
            sent += len(chunk)
            progress.advance(sent, total)

    return chunks

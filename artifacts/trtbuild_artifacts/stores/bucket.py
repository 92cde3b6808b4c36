"""The objects below the path of a URL, of S3, Google Cloud Storage, Azure or a directory.

There lie ``blobs/sha256/HEX``, ``blobs/etags/HEX`` (the ETag that the store gave that blob),
``listings/HEX.json`` and ``tags/NAME`` (the digest of a listing as text).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from trtbuild.errors import BuildError, UsageError
from trtbuild.files import exclusive
from trtbuild_artifacts.listing import Entry
from trtbuild_artifacts.reference import Reference

if TYPE_CHECKING:
    from obstore import PutMode, UpdateVersion
    from obstore.store import ObjectStore

_CHUNK = 4 << 20
_RETRIES = 5


class Bucket:
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
        content = self.read(tag_path(reference.tag))
        if content is None:
            raise _missing(reference)
        digest = content.decode("ascii", "replace").strip()
        return reference.pinned(digest).checked().digest

    def has(self, entry: Entry) -> bool:
        """Whether the store has a file as a push left it: with its size, and with the ETag of the
        upload, whose bytes were verified."""
        import obstore

        try:
            with self._trouble():
                found = obstore.head(self._store, blob(entry.sha256))
        except FileNotFoundError:
            return False
        etag = (found["e_tag"] or "").encode()
        return found["size"] == entry.size and self.read(_etag(entry.sha256)) == etag

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

    def upload(self, entry: Entry, chunks: Iterator[bytes]) -> None:
        """Write a file; readers see all of it or nothing."""
        import obstore

        with self._trouble():
            made = obstore.put(self._store, blob(entry.sha256), chunks)
        self.write(_etag(entry.sha256), (made["e_tag"] or "").encode())

    def at(self, path: str) -> UpdateVersion | None:
        """The state of an object, for :meth:`point`; None if there is none."""
        import obstore

        try:
            with self._trouble():
                found = obstore.head(self._store, path)
        except FileNotFoundError:
            return None
        known: UpdateVersion = {}
        if found["e_tag"] is not None:
            known["e_tag"] = found["e_tag"]
        if found["version"] is not None:
            known["version"] = found["version"]
        return known

    def point(self, tag: str, digest: str, before: UpdateVersion | None) -> None:
        """Make a tag mean a listing. BuildError if it is no longer in the state ``before``."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        path = tag_path(tag)
        mode: PutMode = before or "create"  # an Update needs what this store did not give
        try:
            with self._trouble():
                obstore.put(self._store, path, digest.encode(), mode=mode)
        except NotImplementedError:  # a directory, or AWS_CONDITIONAL_PUT=disabled
            with self._alone():
                if self.at(path) == before:
                    self.write(path, digest.encode())
                    return
        except (AlreadyExistsError, PreconditionError):
            pass
        else:
            return
        if (now := (self.read(path) or b"nothing").decode("ascii", "replace")) != digest:
            if before is not None and not before:
                raise BuildError(
                    f"the tag {tag} cannot be moved safely: the store gives neither an ETag nor a "
                    "version of it",
                    where=str(self._reference),
                    fix="use a new tag, or set AWS_CONDITIONAL_PUT=disabled if nobody else pushes",
                )
            raise BuildError(
                f"the tag {tag} was moved by somebody else in the meantime",
                where=str(self._reference),
                details=(f"it means {now[:80]}", f"this version is {digest}"),
                fix="decide which one it should mean; all files are stored, so "
                f"trtbuild tag {self._reference.pinned(digest)} --alias {tag} moves it at once",
            )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time, as far as a directory has locks."""
        if self._reference.scheme == "file":
            with exclusive(Path("/", self._reference.place)):
                yield
        else:
            yield

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
        """Convert errors of the store; FileNotFoundError stays, and those of conditions."""
        from obstore.exceptions import (
            AlreadyExistsError,
            BaseError,
            NotFoundError,
            PermissionDeniedError,
            PreconditionError,
            UnauthenticatedError,
        )

        try:
            yield
        except (FileNotFoundError, NotFoundError):
            raise FileNotFoundError from None
        except (AlreadyExistsError, PreconditionError):
            raise
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


def _reason(error: BaseException) -> str:
    """The first line of a message, which of these libraries have many."""
    return str(error).strip().partition("\n")[0][:300]


def blob(sha256: str) -> str:
    return f"blobs/sha256/{sha256}"


def _etag(sha256: str) -> str:
    return f"blobs/etags/{sha256}"


def tag_path(name: str) -> str:
    return f"tags/{name}"


def listing_path(digest: str) -> str:
    return f"listings/{digest.removeprefix('sha256:')}.json"

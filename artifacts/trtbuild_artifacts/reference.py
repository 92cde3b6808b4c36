"""URLs of pushed repositories, such as ``oci://ghcr.io/acme/chat:v1`` and ``s3://bucket/chat@v1``."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from trtbuild.errors import UsageError
from trtbuild.pipeline.fetching import is_url

DEFAULT_TAG = "latest"
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
"""What a digest looks like."""
_SCHEME = re.compile(r"([a-z][a-z0-9+]*):(?://)?")


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed URL.

    Attributes:
        scheme: Such as ``oci``; it decides which store is used.
        place: What the store looks in, without scheme, tag and digest.
        tag: A name that can move; empty if the URL has a digest.
        digest: ``sha256:…``, which cannot move; empty if the URL has a tag.
    """

    scheme: str
    place: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        slashes = ":" if self.scheme == "mlflow" else "://"
        mark = ":" if self.tag and self.is_oci else "@"
        return f"{self.scheme}{slashes}{self.place}{mark}{self.tag or self.digest}"

    @property
    def is_oci(self) -> bool:
        """Whether a colon begins the tag, as in the name of an image."""
        return self.scheme.startswith("oci")

    def require_tag(self) -> Reference:
        """This, unless it has a digest: nothing can be stored under one. UsageError."""
        if self.digest:
            raise UsageError(
                "a digest cannot be pushed to: it follows from the content",
                where=str(self),
                fix="give a tag instead, such as v1",
            )
        return self

    def tagged(self, tag: str) -> Reference:
        """The same place under another tag."""
        return replace(self, tag=require_tag(tag), digest="")

    def without_digest(self, instead: str) -> Reference:
        """This, unless it has a digest, in whose place the store has something else. UsageError."""
        if self.digest:
            raise UsageError(f"{self.scheme} URLs have no digest", where=str(self), fix=instead)
        return self

    def checked(self) -> Reference:
        """This, if its digest is one. UsageError."""
        if not DIGEST.fullmatch(self.digest):
            raise UsageError(
                f"{self.digest!r} is not a digest",
                where=f"{self.scheme}://{self.place}",
                fix="write sha256: and 64 hex digits",
            )
        return self

    def pinned(self, digest: str) -> Reference:
        """The same place by digest."""
        return replace(self, tag="", digest=digest)


def parse(url: str) -> Reference:
    """Parse the URL of a pushed repository. No message contains the URL if it may hold a secret.

    Raises:
        UsageError: Not such a URL, a password in it, or an impossible tag.
    """
    found = _SCHEME.match(url)
    if not found or not is_url(url):
        raise UsageError(
            f"{url!r} is not a URL of a registry or an object store",
            fix="use oci://REGISTRY/NAME:TAG, s3://BUCKET/PATH@TAG, file:///PATH@TAG, "
            "hf://ORG/NAME@TAG or mlflow:NAME@ALIAS",
        )
    scheme, rest = found[1], url[found.end() :]
    place, tag, digest = _parted(rest.rstrip("/"), ":" if scheme.startswith("oci") else "@")
    first = place.partition("/")[0]
    if "@" in first or (":" in first and not scheme.startswith("oci")):
        raise UsageError(
            f"the {scheme} URL must not contain a key or a password",
            fix="leave them out; the variables and files of the provider have them",
        )
    if not place.strip("/"):
        raise UsageError(f"{url!r} names no place", fix=f"write {scheme}://… with a name")
    if digest:
        return Reference(scheme, place, digest=digest).checked()
    return Reference(scheme, place, require_tag(tag or DEFAULT_TAG))


def require_tag(tag: str) -> str:
    """``tag`` if a store can have it, else UsageError."""
    if not _TAG.fullmatch(tag):
        raise UsageError(
            f"{tag!r} cannot be a tag",
            fix="use up to 128 letters, digits, '.', '_' and '-', not beginning with '.' or '-'",
        )
    return tag


def _parted(rest: str, mark: str) -> tuple[str, str, str]:
    """``rest`` as place, tag and digest."""
    folder, slash, name = rest.rpartition("/")
    digest = ""
    if "@sha256:" in name:
        name, _, digest = name.partition("@")
        if mark == ":":
            name = name.partition(":")[0]
        return f"{folder}{slash}{name}", "", digest
    name, _, tag = name.partition(mark) if mark == ":" else _last(name)
    return f"{folder}{slash}{name}", tag, ""


def _last(name: str) -> tuple[str, str, str]:
    before, mark, after = name.rpartition("@")
    return (before, mark, after) if mark else (name, "", "")

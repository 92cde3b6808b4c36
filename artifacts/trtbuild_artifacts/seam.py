"""What a store is. An entry point of :data:`ENTRY_POINT_GROUP` has a scheme as its name and is a
function that returns a :class:`Store`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trtbuild.errors import UsageError
from trtbuild.plugins import points
from trtbuild.progress import SILENT, Progress
from trtbuild_artifacts.contents import Contents
from trtbuild_artifacts.reference import Reference

ENTRY_POINT_GROUP = "trtbuild.stores.v1"

Read = Callable[[int], Iterator[bytes]]
"""Yields the bytes of a file from an offset on."""


class Sink(Protocol):
    """Where a store puts files that are pulled."""

    missing: set[str]
    """Paths that are wanted and not here yet."""

    def receive(self, path: str, read: Read) -> None:
        """Write a file from where an earlier pull ended."""

    def place(self, path: str, file: Path) -> None:
        """Take over a file that the store downloaded into :attr:`folder`."""

    @property
    def folder(self) -> Path:
        """A directory on the same disk for a store that downloads by itself."""


class Remote(Protocol):
    """A pushed repository in a store. What it returns never changes, even if its tag moves."""

    version: str
    """What cannot move: ``sha256:…``, or what the store has in its place."""

    def listing(self) -> bytes:
        """The bytes of the listing."""

    def fetch(self, sink: Sink) -> None:
        """Give ``sink`` what it misses."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """The result of a push.

    Attributes:
        version: What cannot move, see :attr:`Remote.version`.
        url: The URL with that version.
        sent: Bytes that were sent.
        present: Bytes that the store had already.
    """

    version: str
    url: str
    sent: int
    present: int


@dataclass(frozen=True, slots=True)
class PushOptions:
    """What only some stores know.

    Attributes:
        layout: ``image`` or ``modelpack``, for OCI registries.
        benchmarks: Results of ``trtbuild bench`` that are kept with the version (MLflow).
        report: The validator's report as JSON.
    """

    layout: str = ""
    benchmarks: tuple[Path, ...] = ()
    report: str = ""


class Store(Protocol):
    """A kind of place. Every method may raise UsageError and BuildError."""

    def push(
        self,
        contents: Contents,
        reference: Reference,
        options: PushOptions = PushOptions(),
        progress: Progress = SILENT,
    ) -> Pushed:
        """Store a repository under a tag; what the store has already is not sent."""

    def resolve(self, reference: Reference) -> Remote:
        """Look a reference up once."""

    def tag(self, reference: Reference, alias: str) -> str:
        """Make ``alias`` mean what ``reference`` means; return the version."""


def open_store(reference: Reference) -> Store:
    """The store of a reference's scheme. UsageError if there is none."""
    found = {point.name: point for point in reversed(points(ENTRY_POINT_GROUP))}
    point = found.get(reference.scheme)
    if point is None:
        raise UsageError(
            f"there is no store for {reference.scheme!r} URLs",
            fix=f"use one of {', '.join(sorted(found))}",
        )
    store: Store = point.load()()
    return store


def refuse(options: PushOptions, names: Iterable[str], store: str) -> None:
    """UsageError if an option was given that this store does not know."""
    for name in names:
        if getattr(options, name):
            flag = {"layout": "--layout", "benchmarks": "--benchmark"}[name]
            raise UsageError(f"{flag} has no meaning for {store}", fix="leave it out")

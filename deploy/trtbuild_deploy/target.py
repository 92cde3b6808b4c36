"""The interface of a deployment target, and how targets are found."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Protocol, cast

from trtbuild import plugins
from trtbuild.errors import UsageError
from trtbuild_deploy.facts import Facts
from trtbuild_deploy.settings import Settings

ENTRY_POINT_GROUP = "trtbuild.deployers.v1"


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file to write; ``path`` is relative to the output directory, with ``/``."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a target writes.

    Attributes:
        files: Every file, by path.
        notes: What a reader should know, as sentences.
        next: Commands that come next.
    """

    files: tuple[OutputFile, ...]
    notes: tuple[str, ...] = ()
    next: tuple[str, ...] = ()


class Target(Protocol):
    """A target. An entry point of :data:`ENTRY_POINT_GROUP` names an instance.

    Both methods are pure: the same facts and settings give the same result on every machine.

    Attributes:
        name: What a user types, and the entry point's name.
        summary: Its line in the help.
        example: A ``deploy.yaml`` with the settings that it cannot do without; may be left out by
            a target that needs none.
    """

    name: str
    summary: str

    def reasons_against(self, facts: Facts, settings: Settings) -> Sequence[str]:
        """Return every reason why this target cannot deploy the repository."""

    def render(self, facts: Facts, settings: Settings) -> Rendered:
        """Return the files. Only called without a reason against it."""


def target_names() -> tuple[str, ...]:
    """The names of all targets."""
    return tuple(sorted({point.name for point in plugins.points(ENTRY_POINT_GROUP)}))


def find_target(name: str, others: Iterable[str] = ()) -> Target:
    """The target of that name; ``others`` may be meant, too.

    Raises:
        UsageError: There is none, or the plug-in that brings it cannot be loaded.
    """
    points = [point for point in plugins.points(ENTRY_POINT_GROUP) if point.name == name]
    if points:
        return _loaded(points[0])
    known = target_names()
    close = difflib.get_close_matches(name, (*known, *others), n=1, cutoff=0.5)
    fix = f"did you mean {close[0]!r}?" if close else f"use {', '.join(known)}"
    raise UsageError(f"there is no deployment target {name!r}", fix=fix)


def example_of(target: Target) -> str:
    """A ``deploy.yaml`` to begin with; empty for a target that works without one."""
    return str(getattr(target, "example", ""))


def _loaded(point: EntryPoint) -> Target:
    try:
        found = point.load()
    except (Exception, SystemExit) as error:  # a third party's plug-in may raise anything
        found, problem = None, f"{type(error).__name__}: {error}"
    else:
        wanted = ("name", "summary", "reasons_against", "render")
        lacking = [name for name in wanted if not hasattr(found, name)]
        problem = f"{point.value} has no {', '.join(lacking)}" if lacking else ""
    if problem:
        raise UsageError(
            f"the deployment target {point.name!r} of {plugins.source_of(point)} cannot be loaded: "
            f"{problem}",
            fix="update or uninstall that package",
        )
    return cast("Target", found)

"""Plug-ins: what installed packages offer in an entry-point group, trtbuild's own first."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

_OWN = "trtbuild"


def points(group: str) -> list[EntryPoint]:
    """The entry points of a group: trtbuild's own, so that no other package replaces one, then the
    others; each by name."""
    return sorted(entry_points(group=group), key=lambda point: (not is_own(point), point.name))


def is_own(point: EntryPoint) -> bool:
    """Whether trtbuild's distribution brings it: that it cannot be loaded is a bug."""
    return point.dist is not None and point.dist.name == _OWN


def source_of(point: EntryPoint) -> str:
    """The distribution that brings it, with its version."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "unknown"

"""Plug-ins: what installed packages offer in an entry-point group, trtbuild's own first."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, entry_points

_OWN = "trtbuild"


def points(group: str) -> list[EntryPoint]:
    """The entry points of a group: trtbuild's own, so that no other package replaces one, then the
    others; each by name."""
    found = _installed(group, tuple(sys.path))
    return sorted(found, key=lambda point: (not is_own(point), point.name))


@lru_cache  # the search opens every installed package
def _installed(group: str, _path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))


def is_own(point: EntryPoint) -> bool:
    """Whether trtbuild's distribution brings it: that it cannot be loaded is a bug."""
    return point.dist is not None and _named(point.dist)[0] == _OWN


def source_of(point: EntryPoint) -> str:
    """The distribution that brings it, with its version."""
    return " ".join(_named(point.dist)) if point.dist else "unknown"


@lru_cache  # importlib parses the metadata each time
def _named(distribution: Distribution) -> tuple[str, str]:
    return distribution.name, distribution.version

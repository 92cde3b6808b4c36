"""Rules come from plug-ins: modules whose import registers rules, in an entry-point group.

trtbuild's own rules are such plug-ins, too: the check itself names none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from trtbuild.check.engine import REGISTERED
from trtbuild.errors import UsageError

ENTRY_POINT_GROUP = "trtbuild.rules.v1"


@dataclass(frozen=True, slots=True)
class RulePlugin:
    """A module with rules, or why it cannot be loaded. ``source`` is its distribution."""

    name: str
    source: str
    module: ModuleType | None
    problem: str = ""


@cache
def rule_plugins() -> tuple[RulePlugin, ...]:
    """The plug-ins, each loaded once: trtbuild's own, which keep their ids, then the others by
    name. One of the others that fails registers none of its rules; if an own one fails, that is a
    bug, since without its rules a validation would pass anything.

    Raises:
        UsageError: trtbuild's own rules are not among the entry points.
    """
    points = sorted(
        entry_points(group=ENTRY_POINT_GROUP), key=lambda each: (not _own(each), each.name)
    )
    if not any(map(_own, points)):
        raise UsageError(
            "trtbuild is not completely installed: its validation rules cannot be found",
            fix="install it again, with pip or another installer of Python packages",
        )
    return tuple(map(_loaded, points))


def _own(point: EntryPoint) -> bool:
    return point.dist is not None and point.dist.name == "trtbuild"


def broken_plugins() -> Iterator[str]:
    """A sentence for each plug-in whose rules are missing."""
    for plugin in rule_plugins():
        if plugin.problem:
            yield f"the rules of {plugin.source} cannot be loaded: {plugin.problem}"


def _loaded(point: EntryPoint) -> RulePlugin:
    source = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown"
    before = dict(REGISTERED)
    try:
        module = point.load()
    except (Exception, SystemExit) as error:  # a third party's plug-in may raise anything
        if _own(point):
            raise
        REGISTERED.clear()
        REGISTERED.update(before)
        return RulePlugin(point.name, source, None, f"{type(error).__name__}: {error}")
    if not isinstance(module, ModuleType):
        return RulePlugin(point.name, source, None, f"{point.value} is not a module")
    return RulePlugin(point.name, source, module)

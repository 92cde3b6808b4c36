"""Rules come from plug-ins: modules whose import registers rules, in an entry-point group.

trtbuild's own rules are such plug-ins, too: the check itself names none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint
from types import ModuleType

from trtbuild.check.engine import REGISTERED
from trtbuild.errors import UsageError
from trtbuild.plugins import is_own, points, source_of

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
    found = points(ENTRY_POINT_GROUP)
    if not any(map(is_own, found)):
        raise UsageError(
            "trtbuild is not completely installed: its validation rules cannot be found",
            fix="install it again, with pip or another installer of Python packages",
        )
    return tuple(map(_loaded, found))


def broken_plugins() -> Iterator[str]:
    """A sentence for each plug-in whose rules are missing."""
    for plugin in rule_plugins():
        if plugin.problem:
            yield f"the rules of {plugin.source} cannot be loaded: {plugin.problem}"


def _loaded(point: EntryPoint) -> RulePlugin:
    source = source_of(point)
    before = dict(REGISTERED)
    try:
        module = point.load()
    except (Exception, SystemExit) as error:  # a third party's plug-in may raise anything
        if is_own(point):
            raise
        REGISTERED.clear()
        REGISTERED.update(before)
        return RulePlugin(point.name, source, None, f"{type(error).__name__}: {error}")
    if not isinstance(module, ModuleType):
        return RulePlugin(point.name, source, None, f"{point.value} is not a module")
    return RulePlugin(point.name, source, module)

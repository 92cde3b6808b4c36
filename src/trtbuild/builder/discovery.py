"""Finding the builders that are installed, first-party or not."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

from trtbuild.builder.base import Builder
from trtbuild.plugins import points, source_of

ENTRY_POINT_GROUP = "trtbuild.builders.v1"


@dataclass(frozen=True, slots=True)
class Discovered:
    """An entry point, with its builder or the reason it could not be loaded."""

    name: str
    distribution: str
    builder: Builder | None
    problem: str = ""


def discover() -> tuple[Discovered, ...]:
    """Every builder installed, by name; a broken one carries its problem."""
    found = sorted(points(ENTRY_POINT_GROUP), key=lambda point: point.name)
    return tuple(map(load_point, found))


def load_point(point: EntryPoint) -> Discovered:
    """The builder that an entry point names, or why it cannot be used."""
    distribution = source_of(point)
    try:
        loaded = point.load()
    except (Exception, SystemExit) as error:  # a third party's plug-in may raise anything
        return Discovered(point.name, distribution, None, f"{type(error).__name__}: {error}")
    if problem := _problem(loaded, point):
        return Discovered(point.name, distribution, None, problem)
    return Discovered(point.name, distribution, loaded)


def _problem(loaded: Any, point: EntryPoint) -> str:
    """Why what an entry point names is not a builder, with the fix; empty when it is one."""
    if isinstance(loaded, type) and issubclass(loaded, Builder):
        return f"{point.value} is a class: point to an instance (builder = {loaded.__name__}())"
    if not isinstance(loaded, Builder):
        kind = type(loaded).__name__
        return f"{point.value} is of type {kind}: derive its class from trtbuild.builder.Builder"
    if type(loaded).models is Builder.models:
        return f"{point.value} does not define models(case), which every builder needs"
    if loaded.name != point.name:
        return (
            f"{point.value} is named {loaded.name!r}, but its entry point {point.name!r}: "
            "give both the same name"
        )
    return ""

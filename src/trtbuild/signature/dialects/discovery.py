"""Find the installed request schemas."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint

from trtbuild.plugins import points
from trtbuild.signature.dialects.base import Dialect, SchemaFacts
from trtbuild.signature.model import ServedModel, ServedTask

GROUP = "trtbuild.dialects.v1"


@dataclass(frozen=True, slots=True)
class Broken:
    """A request schema that cannot be used, its package, and why."""

    name: str
    distribution: str
    problem: str


@dataclass(frozen=True, slots=True)
class Installed:
    """The installed request schemas: usable ones in order of priority, and broken ones."""

    dialects: tuple[Dialect, ...]
    broken: tuple[Broken, ...]


@cache
def installed() -> Installed:
    """Return every request schema of the entry-point group, first-party or not."""
    loaded = [_load(point) for point in points(GROUP)]
    usable = [one for one in loaded if isinstance(one, Dialect)]
    return Installed(
        tuple(sorted(usable, key=lambda one: (-one.priority, one.name))),
        tuple(sorted((b for b in loaded if isinstance(b, Broken)), key=lambda b: b.name)),
    )


def _load(point: EntryPoint) -> Dialect | Broken:
    try:
        dialect = point.load()
        if not isinstance(dialect, Dialect):
            return _broken(point, f"{point.value} is not a Dialect")
        dialect.recognize(SchemaFacts())
    except (Exception, SystemExit) as error:  # a third-party plug-in may raise anything
        return _broken(point, f"{type(error).__name__}: {error}")
    if dialect.name != point.name:
        return _broken(point, f"it calls itself {dialect.name!r}")
    return dialect


def _broken(point: EntryPoint, problem: str) -> Broken:
    package = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown"
    return Broken(point.name, package, problem)


def dialect_of(model: ServedModel) -> Dialect | None:
    """Return the request schema of a model; None if it has none or it is not installed."""
    return named(model.request_schema)


def named(name: str) -> Dialect | None:
    """Return the request schema called ``name``, if it is installed."""
    return next((one for one in installed().dialects if one.name == name), None)


def recognize(
    inputs: Iterable[str], outputs: Iterable[str], *, backend: str = "", pooling: bool = False
) -> tuple[ServedTask, str]:
    """Return the task and the request schema of a model with these tensors; ``tensor`` and an empty
    name if no request schema recognizes it. See :class:`SchemaFacts`."""
    facts = SchemaFacts(frozenset(inputs), frozenset(outputs), backend, pooling)
    for dialect in installed().dialects:
        try:
            task = dialect.recognize(facts)
        except Exception:  # noqa: S112 - a third party's; the others may know the model
            continue
        if task is not None:
            return task, dialect.name
    return ServedTask.TENSOR, ""

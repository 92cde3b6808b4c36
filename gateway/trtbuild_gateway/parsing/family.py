"""The formats of model families, read from ``families/*.toml``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from trtbuild_gateway.parsing.watch import Watch

Kind = Literal["reasoning", "content", "call", "section", "drop"]
_CALLS = ("call", "section")
Format = Literal["json", "named-json", "tags", "calls", "object"]


@dataclass(frozen=True, slots=True)
class Close:
    """What ends a region; ``before`` must match right in front of it."""

    text: str
    before: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of text with a meaning of its own.

    Attributes:
        kind: What the text is.
        open: Literals that begin it.
        header: In a family with headers, the pattern of the header in front of it.
        bare: The character that begins it at the start of a message, without a marker.
        close: What ends it.
        until: Literals that end it and belong to what follows.
        tail: Literals that may follow and are dropped, after white space.
        at_end: Whether the end of the answer closes it too.
        balanced: Whether it ends with the bracket that closes its first one.
        skip: Literals with brackets that do not count.
        strings: Quotes; no marker counts between them.
        escape: Whether a backslash escapes within quotes.
        starts: What follows ``open``, after white space; else the text is ordinary.
        known: Whether a call must name an offered tool, since the format has no marker.
        format: How a call is written.
        name: Pattern with the groups ``name`` and perhaps ``id``, at the start of the region.
        argument: ``tags``: pattern of what begins an argument, with the groups ``key`` and
            perhaps ``type``.
        end: ``tags``: literals that end an argument.
        newlines: ``tags``: whether one line break on each side belongs to the tags.
        escapes: ``tags``: whether keys are escaped as in XML.
        raw: ``tags``: values of ``type`` that mark plain text.
    """

    kind: Kind
    open: tuple[str, ...] = ()
    header: re.Pattern[str] | None = None
    bare: str = ""
    close: tuple[Close, ...] = ()
    until: tuple[str, ...] = ()
    tail: tuple[str, ...] = ()
    at_end: bool = False
    balanced: bool = False
    skip: tuple[str, ...] = ()
    strings: tuple[str, ...] = ()
    escape: bool = True
    starts: tuple[str, ...] = ()
    known: bool = False
    format: Format = "json"
    name: re.Pattern[str] | None = None
    argument: re.Pattern[str] | None = None
    end: tuple[str, ...] = ()
    newlines: bool = False
    escapes: bool = False
    raw: tuple[str, ...] = ()

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Region:
        """Read one region of a family's file."""
        made: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in row.items()
        }
        made["close"] = tuple(
            Close(one) if isinstance(one, str) else Close(one["text"], _tail(one["before"]))
            for one in row.get("close", ())
        )
        for key in {"header", "name", "argument"} & made.keys():
            made[key] = re.compile(row[key], re.DOTALL)
        return cls(**made)


def _tail(pattern: str) -> re.Pattern[str]:
    return re.compile(f"(?:{pattern})\\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Family:
    """How a family of models writes reasoning and tool calls.

    Attributes:
        name: The name in settings and in the registry.
        summary: The format in one line.
        models: Models that write it.
        source: Where the format is described.
        aliases: Names of vLLM's and SGLang's parsers for it.
        markers: Texts of a chat template that tell the family; all of one group must be there.
        rank: A family of a lower rank is preferred if the markers of both are there.
        architectures: Values of ``model_type`` that tell it for a model without a chat template.
        anchors: What the chat template writes before the model's own text.
        regions: The stretches of text.
        drop: Literals that are not part of the answer.
        restart: Literals after which the answer begins again, as at its start.
        header_end, header_abort: What ends a header and what makes it void, in a family where
            every message begins with a header.
        trim: Which text loses the white space next to markers, since it belongs to them.
        id: How ids of calls look: ``call``, ``alnum9`` or ``own`` (as the model wrote it).
    """

    name: str
    summary: str
    models: tuple[str, ...]
    source: str
    aliases: tuple[str, ...] = ()
    markers: tuple[tuple[str, ...], ...] = ()
    rank: int = 0
    architectures: tuple[str, ...] = ()
    anchors: tuple[str, ...] = ()
    regions: tuple[Region, ...] = ()
    drop: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    header_end: str = ""
    header_abort: str = ""
    trim: tuple[str, ...] = ("content", "reasoning")
    id: Literal["call", "alnum9", "own"] = "call"
    _views: dict[tuple[int, bool], View] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Family:
        """Read a family's file."""
        made: dict[str, Any] = {
            key: tuple(tuple(one) if isinstance(one, list) else one for one in value)
            if isinstance(value, list)
            else value
            for key, value in table.items()
        }
        made["regions"] = tuple(map(Region.of, table.get("region", ())))
        made.pop("region", None)
        return cls(**made)

    @property
    def reasons(self) -> bool:
        """Whether the family has a format of reasoning."""
        return any(region.kind == "reasoning" for region in self.regions)

    @property
    def calls(self) -> bool:
        """Whether the family has a format of tool calls."""
        return any(region.kind == "call" for region in self.regions)

    def view(self, inside: Region | None, *, calls: bool) -> View:
        """Return what to look for inside a region, or outside all."""
        key = (-1 if inside is None else self.regions.index(inside), calls)
        if key not in self._views:
            self._views[key] = View.of(self, inside, calls)
        return self._views[key]


@dataclass(frozen=True, slots=True)
class View:
    """What to look for in one state of a parser: literals with their meaning."""

    watch: Watch
    opens: Mapping[str, Region]
    closes: frozenset[str]
    until: frozenset[str]
    restart: frozenset[str]
    bare: Mapping[str, Region]

    @classmethod
    def of(cls, family: Family, inside: Region | None, calls: bool) -> View:
        """Collect the literals of one state."""
        wanted = [r for r in family.regions if calls or r.kind not in _CALLS]
        if inside is None or inside.kind == "section":
            usable = wanted if inside is None else [r for r in wanted if r.kind == "call"]
            opens = {text: r for r in usable for text in r.open}
            bare = {r.bare: r for r in wanted if r.bare and inside is None}
            stray = {c.text for r in family.regions if r.kind == "reasoning" for c in r.close}
        else:
            opens, bare, stray = {}, {}, set()
        closes = frozenset(c.text for c in inside.close) if inside else frozenset()
        hidden = (
            () if calls else tuple(t for r in family.regions if r.kind in _CALLS for t in r.open)
        )
        until = frozenset(
            text for text in (inside.until if inside else ()) if not text.startswith(hidden)
        )
        drop = set(family.drop) | (stray if not family.header_end else set())
        restart = frozenset(family.restart) if inside is None else frozenset[str]()
        literals = {*opens, *closes, *until, *restart, *drop}
        return cls(Watch(literals), opens, closes, until, restart, bare)


@cache
def families() -> Mapping[str, Family]:
    """Return all families by name."""
    folder = files(__package__) / "families"
    rows = sorted((path for path in folder.iterdir() if path.name.endswith(".toml")), key=str)
    found = (Family.of(tomllib.loads(path.read_text("utf-8"))) for path in rows)
    return {family.name: family for family in found}


def names(family: Family) -> Iterator[str]:
    """Yield every name that selects a family."""
    yield family.name
    yield from family.aliases


@cache
def by_name() -> Mapping[str, Family]:
    """Return all families by every name they go by."""
    return {name: family for family in families().values() for name in names(family)}

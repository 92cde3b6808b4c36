"""The tables of known causes: ``data/causes.toml``, and those of plug-ins."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from trtbuild.check.plugins import rule_plugins
from trtbuild.explain.patterns import Finder, Words, needs
from trtbuild.resources import data_file

PLACE = re.compile(r"\{(\w+)\}")
Kind = Literal["cause", "cascade", "hint", "family", "general"]


@dataclass(frozen=True, slots=True)
class Cause:
    """One row; the header of the table explains its columns."""

    id: str
    title: str
    patterns: tuple[re.Pattern[str], ...]
    fix: str
    kind: Kind = "cause"
    rule: str = ""
    parameter: str = ""
    field: str = ""
    json: str = ""
    known_as: tuple[str, ...] = ()
    within: re.Pattern[str] | None = None
    raised_in: re.Pattern[str] | None = None
    weak: bool = False
    words: tuple[Words, ...] = ()

    def match(self, text: str) -> dict[str, str] | None:
        """Return the named groups of the first pattern that matches ``text``, or None."""
        for words, pattern in zip(self.words, self.patterns, strict=True):
            if any(word in text for word in words) and (found := pattern.search(text)):
                return {name: value or "" for name, value in found.groupdict().items()}
        return None


@cache
def causes() -> tuple[Cause, ...]:
    """Return all rows, in the order in which they are tried.

    The causes of plug-ins come first, because they are specific to one engine; their other rows
    come last.
    """
    theirs = [row for path in _plugin_tables() for row in _table(path)]
    first = [row for row in theirs if row.kind == "cause"]
    last = [row for row in theirs if row.kind != "cause"]
    return (*first, *_table(data_file("causes.toml")), *last)


def _plugin_tables() -> Iterator[Path]:
    """Return the tables that rule modules name in ``CAUSES``."""
    for plugin in rule_plugins():
        path = getattr(plugin.module, "CAUSES", None)
        if isinstance(path, Path):
            yield path


def _table(path: Path) -> tuple[Cause, ...]:
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return tuple(_row(row) for row in table["cause"])


def possible(text: str, *kinds: Kind) -> list[Cause]:
    """Return rows of these kinds with a word in ``text``, in the order of the table."""
    rows, finder = _finder(kinds)
    return [rows[number] for number in finder(text)]


@cache
def _finder(kinds: tuple[Kind, ...]) -> tuple[tuple[Cause, ...], Finder]:
    rows = tuple(row for row in causes() if row.kind in kinds)
    return rows, Finder(Words().union(*row.words) for row in rows)


def _row(row: dict[str, Any]) -> Cause:
    """Return a row with compiled patterns, and the words that each of them needs."""
    made: dict[str, Any] = {
        "patterns": tuple(map(re.compile, row["patterns"])),
        "known_as": tuple(row.get("known_as", ())),
        **{name: re.compile(row[name]) for name in ("within", "raised_in") if name in row},
        "words": tuple(map(needs, row["patterns"])),
    }
    return Cause(**row | made)


@cache
def of_rule(id: str) -> Cause:
    """Return a rule of the validator as a row of the table."""
    from trtbuild.check import all_rules

    rule = next(rule for rule in all_rules() if rule.id == id)
    return Cause(rule.id, f"a rule of the server is broken: {rule.title}", (), rule.fix, rule=id)


def filled(template: str, groups: Mapping[str, str]) -> str:
    """Fill ``{name}`` in ``template`` from a pattern's groups; a missing group is empty."""
    return PLACE.sub(lambda place: groups.get(place[1], ""), template)


def url(issue: str) -> str:
    """Return the URL of ``owner/repository#number``."""
    repository, _, number = issue.partition("#")
    return f"https://github.com/{repository}/issues/{number}"

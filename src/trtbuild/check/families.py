"""Families of rules: what the letters of a rule's id stand for.

A family has ids of its own (``TRT101``, ``GW101``: the first digit is the subject's), subject words
of its own, and its own way to look at a directory. See docs/adr/0141.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trtbuild.check.model import Report
    from trtbuild.check.options import Options


@dataclass(frozen=True, slots=True)
class RuleFamily:
    """A family of rules; ``about`` is what they judge, ``tag`` marks them in SARIF."""

    prefix: str
    about: str
    tag: str

    @property
    def mistake(self) -> str:
        """The id of findings about a rule that failed."""
        return f"{self.prefix}000"


REPOSITORIES = "TRT"
FAMILIES = {
    family.prefix: family
    for family in (
        RuleFamily(REPOSITORIES, "model repositories", "triton"),
        RuleFamily("GW", "gateway configuration", "gateway"),
        RuleFamily("DEP", "deployment files", "deployment"),
        RuleFamily("OBS", "monitoring rules and dashboards", "monitoring"),
        RuleFamily("BAT", "batch jobs", "batch"),
    )
}
MISTAKES = frozenset(family.mistake for family in FAMILIES.values())
_ID = re.compile(rf"({'|'.join(FAMILIES)})[1-9]\d\d")

Judge = Callable[[Path, "Options"], "Report"]
"""Applies a family's rules to a directory."""

_judges: dict[str, Judge] = {}


def family_of(id: str) -> str:
    """The family's letters in a rule's id; ValueError for what is not an id of a rule."""
    match = _ID.fullmatch(id)
    if match is None:
        raise ValueError(f"a rule's id is {' or '.join(FAMILIES)} and 100 to 999, not {id!r}")
    return match[1]


def family_key(id: str) -> tuple[int, str]:
    """The order of rules: by family, then by id."""
    return list(FAMILIES).index(family_of(id)), id


def begins_like_an_id(code: str) -> bool:
    """Whether a code means rules by their ids, not by their subject."""
    return code.upper().startswith(tuple(FAMILIES))


def judged_by(prefix: str) -> Callable[[Judge], Judge]:
    """A decorator for the function that applies a family's rules to a directory."""

    def register(judge: Judge) -> Judge:
        _judges[prefix] = judge
        return judge

    return register


def judge_of(prefix: str) -> Judge | None:
    """The function that applies a family's rules to a directory, None when there is none yet."""
    return _judges.get(prefix)

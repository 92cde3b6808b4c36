"""Which rules count, and how much: ``--select``, ``--ignore``, the section of trtbuild.yaml."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from trtbuild.check.engine import Rule
from trtbuild.check.families import MISTAKES, begins_like_an_id
from trtbuild.check.model import Finding, Severity
from trtbuild.check.running import all_rules
from trtbuild.errors import UsageError


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rules are applied, and how seriously.

    A code is a rule's id (``TRT205``), the beginning of some (``TRT2``), a family (``GW``) or a
    subject (``layout``).

    Attributes:
        select: Only these; empty: all.
        ignore: Not these. Of two codes that fit a rule the longer one decides.
        per_model: Codes to ignore by model; the names may have ``*``.
        severity: Severities that replace the rules' own, by code.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    per_model: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    severity: Mapping[str, Severity] = field(default_factory=dict)

    def takes(self, rule: Rule) -> bool:
        """Whether a rule is applied at all."""
        wanted = _weight(self.select, rule) if self.select else 1
        return wanted > _weight(self.ignore, rule)

    def apply(self, finding: Finding, rule: Rule | None) -> Finding | None:
        """A finding as it counts, None when it does not."""
        for pattern, codes in self.per_model.items():
            if fnmatchcase(finding.model, pattern) and rule and _weight(codes, rule):
                return None
        if rule is not None:
            fitting = [code for code in self.severity if _weight((code,), rule)]
            if fitting:
                closest = max(fitting, key=lambda code: _closeness(code, rule))
                return replace(finding, severity=self.severity[closest])
        return finding


EVERYTHING = Selection()


def _weight(codes: Iterable[str], rule: Rule) -> int:
    """How closely the best of ``codes`` names a rule, 0 when none does."""
    return max((_closeness(code, rule) for code in codes), default=0)


def _closeness(code: str, rule: Rule) -> int:
    if code == rule.subject:
        return len(rule.family) + 2  # closer than a hundred, not as close as an id
    return len(code) + (len(code) == len(rule.id)) if rule.id.startswith(code) else 0


def parse_codes(texts: Iterable[str], option: str) -> tuple[str, ...]:
    """``["TRT1,layout", "TRT205"]`` as single codes.

    Raises:
        UsageError: A code fits no rule.
    """
    codes = [code.strip() for text in texts for code in text.split(",") if code.strip()]
    return tuple(known_code(code, option) for code in codes)


def known_code(code: str, where: str) -> str:
    """``code`` as rules spell it; UsageError when it fits none. ``where`` says who gave it."""
    rules = all_rules()
    for spelt in (code.lower(), code.upper()):
        if any(_closeness(spelt, rule) for rule in rules) or spelt in MISTAKES:
            return spelt
    ids = {rule.id for rule in rules if len(code) == len(rule.id)}
    names = ids if begins_like_an_id(code) else {rule.subject for rule in rules}
    near = difflib.get_close_matches(code, sorted(names), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UsageError(
        f"no rule has the id {code!r}, and none begins with it",
        where=where,
        fix=f"{hint}'trtbuild rules' lists them; TRT2 means all rules that begin with it",
    )

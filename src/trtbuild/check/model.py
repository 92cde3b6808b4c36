"""What a validation finds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Severity(StrEnum):
    """``error``: Triton would not load it, or it is not what was written."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace ``text[begin:end]`` of a file by ``text`` (offsets in characters)."""

    begin: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, with its fix.

    Attributes:
        rule: The rule's id, such as ``TRT202``.
        severity: How bad.
        model: The model's directory, empty for the repository itself.
        file: Path relative to the repository, empty if no file is meant.
        line: From 1; 0 if the file as a whole is meant.
        column: From 1; 0 likewise.
        message: What is wrong, naming the offending value.
        server_message: What the server says of it, in its own words; empty if it says nothing.
        fix: What to do.
        width: Characters from ``column`` that are meant.
        repository: The repository, as it was named.
        edit: A safe change of the file that removes the finding, None when there is none.
        details: What ``message`` sums up, one by one; most findings have none.
    """

    rule: str
    severity: Severity
    model: str
    file: str
    line: int
    column: int
    message: str
    server_message: str
    fix: str
    width: int = 1
    repository: str = ""
    edit: Edit | None = field(default=None, compare=False)
    details: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """The finding as ``--json`` prints it."""
        return {name: getattr(self, name) for name in _PUBLIC}

    @property
    def fingerprint(self) -> str:
        """What stays the same when lines are added above: 32 hex digits."""
        parts = "\0".join((self.rule, self.model, self.file, self.message))
        return hashlib.sha256(parts.encode()).hexdigest()[:32]


_PUBLIC = (
    "rule", "severity", "model", "file", "line", "column", "message", "server_message", "fix",
    "details",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Judged:
    """The models of a repository that were judged by one release.

    Attributes:
        triton: The release, ``YY.MM``.
        origin: Who named it: ``flag``, ``recipe``, ``lock`` (trtbuild.lock), or ``default`` for the
            newest confirmed one.
        models: Their directories.
        repository: The repository, as it was named.
    """

    triton: str
    origin: str
    models: tuple[str, ...]
    repository: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All findings: by model, errors first, then by file and position.

    Attributes:
        findings: What counts.
        repositories: The repositories, as they were named.
        models: How many models were looked at.
        ignored: How many findings a comment in the repository hides.
        known: How many findings the baseline knows.
        judged: By which releases.
    """

    findings: tuple[Finding, ...] = ()
    repositories: tuple[str, ...] = ()
    models: int = 0
    ignored: int = 0
    known: int = 0
    judged: tuple[Judged, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not any(found.severity is Severity.ERROR for found in self.findings)

    def count(self, severity: Severity) -> int:
        """How many findings are of a severity."""
        return sum(found.severity is severity for found in self.findings)

    def with_findings(self, more: tuple[Finding, ...]) -> Report:
        """A report with ``more``, sorted."""
        return replace(self, findings=tuple(sorted((*self.findings, *more), key=_order)))


_RANK = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


def _order(finding: Finding) -> tuple[object, ...]:
    return (
        finding.repository,
        finding.model,
        _RANK[finding.severity],
        finding.file,
        finding.line,
        finding.column,
        finding.rule,
    )

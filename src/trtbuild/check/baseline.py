"""A baseline: what was found when somebody began, so that only new findings count."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from trtbuild.check.model import Finding, Report
from trtbuild.errors import UsageError
from trtbuild.files import atomic_write

VERSION = 1


@dataclass(frozen=True, slots=True)
class Baseline:
    """Findings that are known, by fingerprint, with how often each occurs."""

    counts: Mapping[str, int] = field(default_factory=dict)

    def apply(self, report: Report) -> tuple[Report, int]:
        """The report without what is known, and how many known ones are not found any more."""
        left = Counter(self.counts)
        kept: list[Finding] = []
        for found in report.findings:
            if left[found.fingerprint] > 0:
                left[found.fingerprint] -= 1
            else:
                kept.append(found)
        known = len(report.findings) - len(kept)
        return replace(report, findings=tuple(kept), known=report.known + known), left.total()


def read(path: Path) -> Baseline:
    """The baseline in a file; UsageError when it is missing or is none."""
    again = f"trtbuild validate … --baseline {path} --update-baseline writes it"
    try:
        document = json.loads(path.read_bytes())
        if document["version"] != VERSION:
            raise ValueError(f"version {document['version']!r} is not supported, only {VERSION}")
        counts = {str(row["fingerprint"]): int(row["count"]) for row in document["findings"]}
    except FileNotFoundError:
        raise UsageError(f"the baseline {str(path)!r} does not exist", fix=again) from None
    except OSError as error:
        raise UsageError(
            f"the baseline cannot be read: {error.strerror}", where=str(path), fix=again
        ) from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"this file is not a baseline: {type(error).__name__}: {error}",
            where=str(path),
            fix=again,
        ) from None
    return Baseline(counts)


def write(path: Path, report: Report) -> None:
    """Write the findings of ``report`` as the baseline; UsageError when that cannot be."""
    counts = Counter(found.fingerprint for found in report.findings)
    rows = {
        found.fingerprint: {
            "fingerprint": found.fingerprint,
            "count": counts[found.fingerprint],
            "rule": found.rule,
            "file": found.file,
            "message": found.message,
        }
        for found in report.findings
    }
    document = {"version": VERSION, "findings": list(rows.values())}
    text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    try:
        atomic_write(path, text.encode())
    except OSError as error:
        raise UsageError(
            f"the baseline cannot be written: {error.strerror}",
            where=str(path),
            fix="name a file in a directory that exists and that this user may write",
        ) from None

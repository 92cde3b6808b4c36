"""Checking an output directory offline: the rules, and the manifest."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from trtbuild.check import Finding, Report, Rule, Selection
from trtbuild.check.selecting import EVERYTHING
from trtbuild.errors import UsageError
from trtbuild_deploy.jobs.chart_values import values_judged
from trtbuild_deploy.jobs.manifest import edited, read_manifest
from trtbuild_deploy.rules.chart import is_chart
from trtbuild_deploy.rules.judging import judge_files, unreadable


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found: the report, what was looked at, and files that were edited by hand."""

    report: Report
    looked_at: tuple[str, ...]
    edited: tuple[str, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the rules found."""
        return self.report.findings


def check(folder: Path, selection: Selection = EVERYTHING) -> Checked:
    """Check the deployment files below ``folder``, whoever wrote them.

    Raises:
        UsageError: There is no such directory, or it has nothing to check.
    """
    if not os.path.isdir(folder):  # noqa: PTH112 - Path's raises for too long a name
        raise UsageError(
            f"{str(folder)!r} is not a directory", fix="name the directory given with -o"
        )
    takes: Callable[[Rule], bool] = selection.takes
    report, looked_at = judge_files(folder, takes)
    if is_chart(folder) and shutil.which("helm") is None:
        report, looked_at = _with_values(folder, report, looked_at)
    if not looked_at and not report.findings:
        raise UsageError(
            f"{str(folder)!r} has no deployment file",
            fix="name a directory with Compose files, manifests or a chart",
        )
    return Checked(report, looked_at, edited(folder, read_manifest(folder)))


def _with_values(
    folder: Path, report: Report, looked_at: tuple[str, ...]
) -> tuple[Report, tuple[str, ...]]:
    judged = tuple(values_judged(folder))
    found = (unreadable(name, text, line) for name, problems in judged for line, text in problems)
    findings = tuple(replace(one, repository=str(folder)) for one in found)
    names = (name for name, _ in judged)
    return report.with_findings(findings), (*looked_at, *names)

"""GitHub's workflow commands: annotations at the lines of a pull request.

Format: https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

from trtbuild.check.formats.paths import from_here
from trtbuild.check.model import Finding, Report, Severity

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def github(report: Report) -> str:
    """One command a line."""
    return "\n".join(map(_command, report.findings))


def _command(finding: Finding) -> str:
    place = {"file": from_here(finding)}
    if finding.line:
        place |= {"line": str(finding.line), "col": str(finding.column)}
        place["endColumn"] = str(finding.column + finding.width)
    place["title"] = f"{finding.rule} {finding.model}".strip()
    said = f"Triton says: {finding.server_message}" if finding.server_message else ""
    fix = f"fix: {finding.fix}" if finding.fix else ""
    text = "\n".join(part for part in (finding.message, said, fix) if part)
    where = ",".join(f"{key}={_property(value)}" for key, value in place.items())
    return f"::{_COMMANDS[finding.severity]} {where}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")

"""SARIF 2.1.0, which code hosts show beside the lines.

Format: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from trtbuild import __version__
from trtbuild.check.engine import Rule
from trtbuild.check.families import FAMILIES
from trtbuild.check.formats.paths import from_here
from trtbuild.check.model import Finding, Report, Severity
from trtbuild.check.running import all_rules

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}


def sarif(report: Report) -> str:
    """One run with the rules that found something."""
    found = {finding.rule for finding in report.findings}
    rules = [rule for rule in all_rules() if rule.id in found]
    index = {rule.id: number for number, rule in enumerate(rules)}
    run = {
        "tool": {
            "driver": {
                "name": "trtbuild",
                "semanticVersion": __version__,
                "rules": [_rule(rule) for rule in rules],
            }
        },
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"SRCROOT": {"uri": f"{Path.cwd().as_uri().rstrip('/')}/"}},
        "results": [_result(finding, index) for finding in report.findings],
        "properties": {
            "releases": [{"triton": one.triton, "from": one.origin} for one in report.judged]
        },
    }
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, ensure_ascii=False, indent=2)


def _rule(rule: Rule) -> dict[str, Any]:
    example = f"Wrong:\n\n{rule.bad[0].shown()}\n\nRight:\n\n{rule.good[0].shown()}"
    return {
        "id": rule.id,
        "name": rule.check.__name__,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.explanation},
        "help": {"text": f"{rule.explanation}\n\nFix: {rule.fix}\n\n{example}"},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {"tags": [FAMILIES[rule.family].tag, rule.subject]},
    }


def _result(finding: Finding, index: dict[str, int]) -> dict[str, Any]:
    parts = [finding.message]
    if finding.server_message:
        parts.append(f"Triton says: {finding.server_message}")
    if finding.fix:
        parts.append(f"Fix: {finding.fix}")
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "level": _LEVELS[finding.severity],
        "message": {"text": "\n".join(parts)},
        "locations": [{"physicalLocation": _location(finding)}],
        "partialFingerprints": {"trtbuild/v1": finding.fingerprint},
    }
    if finding.rule in index:
        result["ruleIndex"] = index[finding.rule]
    return result


def _location(finding: Finding) -> dict[str, Any]:
    path = from_here(finding)
    artifact = {"uri": quote(path)}
    if path.startswith("/"):
        artifact = {"uri": f"file://{quote(path)}"}
    else:
        artifact["uriBaseId"] = "SRCROOT"
    location: dict[str, Any] = {"artifactLocation": artifact}
    if finding.line:
        location["region"] = {
            "startLine": finding.line,
            "startColumn": max(finding.column, 1),
            "endColumn": max(finding.column, 1) + finding.width,
        }
    return location

"""JSON as other programs read it: the interface that ``--json`` promises."""

from __future__ import annotations

import json

from trtbuild.check.model import Report


def as_json(report: Report) -> str:
    """``{"ok", "findings", "releases"}``; with several repositories every finding and every release
    names its own."""
    several = len(report.repositories) > 1
    releases = [
        {
            "triton": one.triton,
            "from": one.origin,
            "models": one.models,
            **({"repository": one.repository} if several else {}),
        }
        for one in report.judged
    ]
    findings = [
        {**found.as_dict(), **({"repository": found.repository} if several else {})}
        for found in report.findings
    ]
    document = {"ok": report.ok, "findings": findings, "releases": releases}
    return json.dumps(document, ensure_ascii=False, indent=2)

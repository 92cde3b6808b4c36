"""JUnit's XML: a suite for each model, a failed test for each error.

Format: https://github.com/testmoapp/junitxml
"""

from __future__ import annotations

from itertools import groupby
from xml.etree import ElementTree as ET

from trtbuild.check.model import Finding, Report, Severity


def junit(report: Report) -> str:
    """Errors are failures; warnings are tests that passed with something to say."""
    root = ET.Element("testsuites", name="trtbuild validate")
    for (repository, model), group in groupby(report.findings, lambda f: (f.repository, f.model)):
        findings = list(group)
        suite = ET.SubElement(root, "testsuite", name=model or repository)
        for found in findings:
            _case(suite, found)
        _count(suite, findings)
    if not report.findings:
        suite = ET.SubElement(root, "testsuite", name="trtbuild validate")
        ET.SubElement(suite, "testcase", name="valid", classname="trtbuild")
        _count(suite, [])
    _count(root, list(report.findings))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True)


def _count(element: ET.Element, findings: list[Finding]) -> None:
    element.set("tests", str(max(len(findings), 1)))
    element.set("failures", str(sum(found.severity is Severity.ERROR for found in findings)))


def _case(suite: ET.Element, finding: Finding) -> None:
    place = f"{finding.file}:{finding.line}:{finding.column}" if finding.line else finding.file
    case = ET.SubElement(
        suite, "testcase", name=f"{finding.rule} {place}", classname=finding.model or "repository"
    )
    lines = [finding.message, f"at: {place}"]
    if finding.server_message:
        lines.append(f"Triton says: {finding.server_message}")
    lines.append(f"fix: {finding.fix}")
    text = "\n".join(lines)
    if finding.severity is Severity.ERROR:
        ET.SubElement(case, "failure", type=finding.rule, message=finding.message).text = text
    else:
        ET.SubElement(case, "system-out").text = f"{finding.severity.value}: {text}"

"""Faults for the validator to find."""

from __future__ import annotations

from pathlib import Path

from support.config_faults import PYTHON
from trtbuild.check import Finding, Report
from trtbuild.check.examples import MODEL_PY


def python_model(repo: Path, text: str = PYTHON, name: str = "m", version: str = "1") -> Path:
    """A Python model in the directory ``repo``; ``text`` is its config.pbtxt."""
    folder = repo / name
    (folder / version).mkdir(parents=True)
    (folder / version / "model.py").write_text(MODEL_PY)
    (folder / "config.pbtxt").write_text(text)
    return folder


def only(report: Report, rule: str) -> Finding:
    """The one finding of a rule."""
    found = [finding for finding in report.findings if finding.rule == rule]
    assert len(found) == 1, report.findings
    return found[0]

"""``trtbuild rules``, and the page that is made of the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from support.paths import ROOT
from trtbuild.check import all_rules
from trtbuild.cli.app import app
from trtbuild.errors import UsageError


def run(*args: str) -> str:
    result = CliRunner().invoke(app, ["rules", *args], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_every_rule_is_listed_once() -> None:
    lines = run().splitlines()
    ids = re.findall(r"^  ([A-Z]{3}\d{3}) ", "\n".join(lines), re.MULTILINE)
    assert sorted(ids) == sorted(rule.id for rule in all_rules())
    assert lines[0].startswith("schema  ")


def test_one_rule_is_explained_with_what_it_finds() -> None:
    text = run("trt303")
    assert "0 means that the tensors have no batch dimension" in text
    assert "as Triton's ValidateModelConfig" in text
    assert "   1 │ max_batch_size: -1" in text
    assert "Triton: 'max_batch_size' must be non-negative value for m" in text


def test_a_rule_of_each_family_can_be_tried() -> None:
    """That every rule finds its example is the contract of the rules."""
    from trtbuild.cli import rules

    for rule in {rule.family: rule for rule in all_rules()}.values():
        with rules._tried(rule) as report:
            assert rule.id in {finding.rule for finding in report.findings}


def test_some_rules() -> None:
    assert "TRT501" in run("TRT5")
    assert "TRT303" not in run("TRT5")
    assert "TRT504" in run("instances")


def test_json() -> None:
    listed = json.loads(run("--json"))
    assert [row["id"] for row in listed] == [rule.id for rule in all_rules()]
    one = json.loads(run("TRT303", "--json"))
    assert one["severity"] == "error"
    assert one["bad"] == ["max_batch_size: -1"]


def test_an_unknown_rule() -> None:
    with pytest.raises(UsageError, match="no rule has the id 'TRT309x'"):
        CliRunner().invoke(app, ["rules", "TRT309x"], catch_exceptions=False)


def test_the_page_is_up_to_date() -> None:
    result = subprocess.run(
        [sys.executable, ROOT / "scripts/document_rules.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr

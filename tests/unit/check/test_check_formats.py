"""Reports for machines are what their formats say, and people's are fit to be read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from support.paths import TESTS
from trtbuild import check, toolchain
from trtbuild.check import Example, Finding, Report, write_example
from trtbuild.check.formats import FORMATS
from trtbuild.cli.validate_view import report_lines

SCHEMA = TESTS / "schemas/sarif-2.1.0.json"
FAULTS = """\
max_batch_size: -1
input [
  {
    name: "IN, %:"
    data_type: TYPE_FP32
    dims: [ 0 ]
  }
]
instance_group [ { count: 0 kind: KIND_CPU } ]
"""


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    (tmp_path / "mo del").mkdir()
    return Path("mo del")


@pytest.fixture
def report(repo: Path) -> Report:
    write_example(Example(FAULTS, {"m/01/": "", "empty/": ""}), repo)
    return check.validate(repo)


def rendered(form: str, report: Report) -> str:
    return FORMATS[form](report)


def valid_sarif(text: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text)
    schema = json.loads(SCHEMA.read_bytes())
    jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker()).validate(document)
    return document


def test_json_has_exactly_the_promised_keys(report: Report) -> None:
    document = json.loads(rendered("json", report))
    assert list(document) == ["ok", "findings", "releases"]
    newest = toolchain.newest().triton
    assert document["releases"] == [{"triton": newest, "from": "default", "models": ["empty", "m"]}]
    assert document["ok"] is False
    found = next(row for row in document["findings"] if row["rule"] == "TRT303")
    assert found == {
        "rule": "TRT303",
        "severity": "error",
        "model": "m",
        "file": "m/config.pbtxt",
        "line": 1,
        "column": 17,
        "message": "max_batch_size is -1",
        "server_message": "'max_batch_size' must be non-negative value for m",
        "fix": "write max_batch_size: 0 for a model that does not batch",
        "details": [],
    }


def test_json_names_the_repository_when_there_are_several(repo: Path) -> None:
    for name in ("one", "two"):
        Path(name).mkdir()
        write_example(Example("max_batch_size: -1"), Path(name))
    both = [Path("one"), Path("two")]
    rows = json.loads(rendered("json", check.validate_all(both)))["findings"]
    assert {row["repository"] for row in rows} == {"one", "two"}
    document = json.loads(rendered("json", check.validate_all(both)))
    assert [row["repository"] for row in document["releases"]] == ["one", "two"]
    write_example(Example(""), Path("one"))
    write_example(Example("", {"m/01/": ""}), Path("two"))
    rows = json.loads(rendered("json", check.validate_all(both)))["findings"]
    assert "two" in {row["repository"] for row in rows}


def test_sarif_is_valid(report: Report) -> None:
    run = valid_sarif(rendered("sarif", report))["runs"][0]
    newest = toolchain.newest().triton
    assert run["properties"]["releases"] == [{"triton": newest, "from": "default"}]
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    first = next(row for row in run["results"] if row["ruleId"] == "TRT303")
    location = first["locations"][0]["physicalLocation"]
    assert location["artifactLocation"] == {
        "uri": "mo%20del/m/config.pbtxt",
        "uriBaseId": "SRCROOT",
    }
    assert location["region"] == {"startLine": 1, "startColumn": 17, "endColumn": 19}
    assert "Triton says: 'max_batch_size' must be" in first["message"]["text"]


@pytest.mark.slow
def test_sarif_of_nothing_and_of_everything_is_valid(repo: Path) -> None:
    assert valid_sarif(rendered("sarif", Report()))["runs"][0]["results"] == []
    found: list[Finding] = []
    for number, rule in enumerate(check.all_rules()):
        folder = repo / str(number)
        folder.mkdir()
        write_example(rule.bad[0], folder)
        found += check.validate(folder).findings
    run = valid_sarif(rendered("sarif", Report(tuple(found))))["runs"][0]
    assert {row["ruleId"] for row in run["results"]} == {one.rule for one in found}


def test_a_fingerprint_survives_lines_above(repo: Path) -> None:
    def prints(config: str) -> set[str]:
        write_example(Example(config), repo)
        run = json.loads(rendered("sarif", check.validate(repo)))["runs"][0]
        return {row["partialFingerprints"]["trtbuild/v1"] for row in run["results"]}

    assert prints("max_batch_size: -1") == prints("# one\n# two\n\nmax_batch_size: -1")


def test_github(report: Report) -> None:
    lines = rendered("github", report).splitlines()
    assert len(lines) == len(report.findings)
    for line in lines:
        assert re.fullmatch(r"::(error|warning|notice) file=mo del/[^:]+::.+", line)
    zero = next(line for line in lines if "TRT404" in line)
    assert "line=6,col=13,endColumn=14,title=TRT404 m::" in zero
    assert "input 'IN, %25:' has a dimension of 0%0ATriton says: " in zero


def test_junit(report: Report) -> None:
    root = ET.fromstring(rendered("junit", report))
    assert root.tag == "testsuites"
    assert int(root.get("tests", "")) == len(report.findings)
    assert {suite.get("name") for suite in root} >= {"m", "empty"}
    failures = [case for case in root.iter("testcase") if case.find("failure") is not None]
    assert len(failures) == int(root.get("failures", "")) > 0
    assert any("Triton says" in (case.findtext("failure") or "") for case in failures)


def test_junit_of_a_sound_repository_is_one_test_that_passed() -> None:
    root = ET.fromstring(rendered("junit", Report(models=3)))
    assert (root.get("tests"), root.get("failures")) == ("1", "0")
    assert root.find(".//failure") is None


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_names_that_no_format_likes(repo: Path, form: str) -> None:
    (repo / "a\x1b[0m\n::error::<&]]>").mkdir()
    (repo / "b\udcff").mkdir()
    text = rendered(form, check.validate(repo))
    assert "\x1b" not in text
    assert text.encode()
    if form == "junit":
        ET.fromstring(text)
    if form == "github":
        assert all(
            line.startswith(("::error file=", "::warning file=")) for line in text.split("\n")
        )


def shown(report: Report, *repositories: Path) -> str:
    text = "\n".join(report_lines(report, repositories)) + "\n"
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_the_terminal_shows_the_lines_with_a_caret(repo: Path, report: Report) -> None:
    text = shown(report, repo)
    assert (
        "     ┌─ m/config.pbtxt:6:13\n"
        "   5 │     data_type: TYPE_FP32\n"
        "   6 │     dims: [ 0 ]\n"
        "     │             ^\n"
        "     ├─ Triton: model input 'IN, %:' dimension must be integer"
    ) in text
    assert text.splitlines()[-1].startswith("✗ mo del is not valid: ")


def test_a_long_line_is_shown_around_the_place(repo: Path) -> None:
    config = " " * 5000 + "max_batch_size: -1" + " " * 5000
    write_example(Example(config), repo)
    text = shown(check.validate(repo), repo)
    assert max(map(len, text.splitlines())) < 160
    lines = text.splitlines()
    number = next(i for i, line in enumerate(lines) if "max_batch_size: -1" in line and "│" in line)
    assert lines[number].index("-1") == lines[number + 1].index("^^")


def test_the_verdict_counts(repo: Path) -> None:
    write_example(
        Example("max_batch_size: 0  # trtbuild: ignore-model[TRT205]", {"m/x/": ""}), repo
    )
    text = shown(check.validate(repo), repo)
    assert text.endswith("\n✓ mo del is valid: 1 model (1 ignored)\n")

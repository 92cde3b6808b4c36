"""Rule families: ids other than TRT in the registry, selection, comments, baseline and formats."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from support.paths import ROOT
from trtbuild import check
from trtbuild.check import (
    EVERYTHING,
    Finding,
    Options,
    Report,
    Rule,
    Selection,
    Severity,
    baseline,
    families,
)
from trtbuild.check.comments import read_comments, unknown_codes
from trtbuild.check.engine import REGISTERED, Problem, Problems, rule
from trtbuild.check.formats import FORMATS
from trtbuild.check.running import run_on_file, subject_title
from trtbuild.check.selecting import known_code, parse_codes
from trtbuild.cli.app import app
from trtbuild.errors import UsageError
from trtbuild.located.positions import Position

TEXT = """port: 80
# trtbuild: ignore[GW201]
limit: 0
burst: 0
"""
SCRIPT = ROOT / "scripts/document_rules.py"


def lines_with_zero(document: list[str]) -> Problems:
    """A limit of zero lets no request through, which is hardly what was meant."""
    for number, line in enumerate(document, start=1):
        if line.endswith(": 0"):
            yield Problem(f"{line} refuses every request", Position(number, 1))


def fails(_: list[str]) -> Problems:
    """This rule has a mistake, so that one can see what becomes of it."""
    raise TypeError("no such thing")


def look(root: Path, _: Options) -> Report:
    text = (root / "gateway.yaml").read_text()
    found = run_on_file("GW", text.splitlines(), "gateway.yaml", text)
    return Report(tuple(replace(one, repository=str(root)) for one in found))


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rule]:
    """A rule of the gateway's configuration, in a module about limits; the only one beside TRT."""
    check.all_rules()
    before = dict(REGISTERED)
    for id in [id for id in before if not id.startswith("TRT")]:
        del REGISTERED[id]
    module = ModuleType("some_gateway.limits", "Limits: how much a client may ask.")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(lines_with_zero, "__module__", module.__name__)
    monkeypatch.setattr(families, "_judges", dict(families._judges))
    families.judged_by("GW")(look)
    declare("GW201")(lines_with_zero)
    yield REGISTERED["GW201"]
    REGISTERED.clear()
    REGISTERED.update(before)


def declare(id: str, **more: Any) -> Callable[..., Any]:
    return rule(
        id,
        "a limit lets requests through",
        fix="give a limit above 0",
        bad={"gateway.yaml": "limit: 0\n"},
        good={"gateway.yaml": "limit: 1\n"},
        **more,
    )


def found(selection: Selection = EVERYTHING) -> tuple[Finding, ...]:
    return run_on_file("GW", TEXT.splitlines(), "gateway.yaml", TEXT, selection.takes)


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize("id", ["XX101", "TRT1011", "GW001", "GW99", "gw101", "TRTGW101", ""])
def test_the_registry_refuses_other_ids(id: str) -> None:
    with pytest.raises(ValueError, match="a rule's id is TRT or GW or DEP or OBS or BAT"):
        declare(id)(lines_with_zero)


def test_a_subject_word_belongs_to_one_family(limits: Rule) -> None:
    with pytest.raises(ValueError, match="limits is a subject of GW, so not one of DEP"):
        declare("DEP101")(lines_with_zero)
    declare("GW202")(lines_with_zero)
    assert (limits.subject, subject_title("limits")) == ("limits", "how much a client may ask")


@pytest.mark.usefixtures("limits")
def test_a_family_has_its_own_scope() -> None:
    with pytest.raises(ValueError, match="TRT999 is about a model or a repository"):
        declare("TRT999", scope="file")(fails)
    with pytest.raises(ValueError, match="GW301 is about a file, not about a model"):
        declare("GW301", scope="model")(lines_with_zero)


@pytest.mark.usefixtures("limits")
def test_rules_are_listed_by_family() -> None:
    ids = [each.id for each in check.all_rules()]
    assert ids[-1] == "GW201"
    assert ids[:-1] == sorted(id for id in ids if id.startswith("TRT"))


@pytest.mark.usefixtures("limits")
def test_a_file_is_judged_by_its_family_alone() -> None:
    (one,) = found()
    assert (one.rule, one.file, one.line, one.severity) == (
        "GW201", "gateway.yaml", 4, Severity.ERROR,
    )  # fmt: skip
    assert run_on_file("DEP", TEXT.splitlines(), "gateway.yaml", TEXT) == ()


@pytest.mark.usefixtures("limits")
def test_repositories_are_not_judged_by_other_families(tmp_path: Path) -> None:
    check.write_example(check.Example(), tmp_path)
    assert check.validate_all([tmp_path]).findings == ()


@pytest.mark.usefixtures("limits")
def test_a_rule_that_fails_is_a_finding_of_its_family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fails, "__module__", "some_gateway.limits")
    declare("GW203")(fails)
    assert [one.rule for one in found()] == ["GW201", "GW000"]
    assert known_code("gw000", "") == "GW000"


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize("code", ["GW", "gw", "GW2", "GW201", "limits", "Limits"])
def test_a_family_is_selected_and_ignored(code: str) -> None:
    codes = parse_codes([code], "--select")
    assert len(found(Selection(select=codes))) == 1
    assert found(Selection(ignore=codes)) == ()


def test_of_two_codes_the_closer_one_counts(limits: Rule) -> None:
    assert Selection(select=("limits",), ignore=("GW2",)).takes(limits)
    assert Selection(select=("GW201",), ignore=("limits",)).takes(limits)
    assert not Selection(select=("GW2",), ignore=("limits",)).takes(limits)
    severity = {"limits": Severity.WARNING, "GW201": Severity.INFO, "GW": Severity.ERROR}
    changed = Selection(severity=severity).apply(found()[0], limits)
    assert changed is not None
    assert changed.severity is Severity.INFO


def test_a_long_subject_word_does_not_win_over_an_id() -> None:
    each = next(one for one in check.all_rules() if one.subject == "installation")
    severity = {"installation": Severity.WARNING, each.id: Severity.INFO}
    finding = Finding(each.id, Severity.ERROR, "m", "m", 0, 0, "x", "", "x")
    changed = Selection(severity=severity).apply(finding, each)
    assert changed is not None
    assert changed.severity is Severity.INFO


@pytest.mark.usefixtures("limits")
def test_a_wrong_code_suggests_one_of_its_family() -> None:
    with pytest.raises(UsageError) as caught:
        known_code("GW210", "--select")
    assert "did you mean GW201?" in caught.value.fix
    with pytest.raises(UsageError, match="no rule has the id 'DEP'"):
        known_code("DEP", "--select")


@pytest.mark.usefixtures("limits")
def test_comments_know_the_family() -> None:
    comments = read_comments("a: 0 # trtbuild: ignore[GW2, DEP101]\n")
    assert list(unknown_codes(comments)) == [(1, "DEP101")]


@pytest.mark.usefixtures("limits")
def test_a_baseline_and_every_format_take_it(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(TEXT)
    report = look(tmp_path, Options())
    known = tmp_path / "known.json"
    baseline.write(known, report)
    assert baseline.read(known).apply(report)[0].known == 1
    for name, made in FORMATS.items():
        assert "GW201" in made(report), name
    (run,) = json.loads(FORMATS["sarif"](report))["runs"]
    (listed,) = run["tool"]["driver"]["rules"]
    assert (listed["id"], listed["properties"]["tags"]) == ("GW201", ["gateway", "limits"])
    assert "limit: 1" in listed["help"]["text"]


def test_its_examples_are_judged_as_the_family_does(limits: Rule, tmp_path: Path) -> None:
    for name, example, count in (("bad", limits.bad[0], 1), ("good", limits.good[0], 0)):
        root = tmp_path / name
        root.mkdir()
        assert len(check.judge_example(limits, example, root).findings) == count


@pytest.mark.usefixtures("limits")
def test_the_command_and_the_documentation_show_it() -> None:
    shown = CliRunner().invoke(app, ["rules", "GW201"], catch_exceptions=False).stdout
    assert "limit: 0 refuses every request" in shown
    listed = CliRunner().invoke(app, ["rules", "limits"], catch_exceptions=False).stdout
    assert "how much a client may ask" in listed
    spec = importlib.util.spec_from_file_location("document_rules", SCRIPT)
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = script.page()
    assert "# GW: gateway configuration\n\n## limits: how much a client may ask\n" in page
    assert "\n### GW201\n" in page

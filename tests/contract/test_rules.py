"""The contract of every rule: it finds its bad examples and passes its good ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from trtbuild import check
from trtbuild.check import Example, Report, Rule, Severity, write_example
from trtbuild.check.families import FAMILIES

RULES = check.all_rules()
BAD = [(rule, example) for rule in RULES for example in rule.bad]
GOOD = [(rule, example) for rule in RULES for example in rule.good]


def judged(rule: Rule, example: Example, folder: Path) -> Report:
    repo = folder / "repo"
    repo.mkdir()
    return check.judge_example(rule, example, repo)


def names(cases: list[tuple[Rule, Example]]) -> list[str]:
    return [f"{rule.id}-{number}" for number, (rule, _) in enumerate(cases)]


@pytest.mark.parametrize(("rule", "example"), BAD, ids=names(BAD))
def test_a_bad_example_is_found(rule: Rule, example: Example, tmp_path: Path) -> None:
    report = judged(rule, example, tmp_path)
    found = [finding for finding in report.findings if finding.rule == rule.id]
    assert found, f"{rule.id} does not find its own bad example; found {report.findings}"
    for finding in found:
        assert finding.message
        assert finding.fix


@pytest.mark.parametrize(("rule", "example"), GOOD, ids=names(GOOD))
def test_a_good_example_is_sound(rule: Rule, example: Example, tmp_path: Path) -> None:
    report = judged(rule, example, tmp_path)
    assert [finding for finding in report.findings if finding.rule == rule.id] == []
    assert [found for found in report.findings if found.severity is Severity.ERROR] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_says_what_it_is(rule: Rule) -> None:
    assert rule.family in FAMILIES
    assert len(rule.title) < 90
    assert not rule.title.endswith(".")
    assert len(rule.explanation) > 30
    assert rule.explanation.endswith((".", "?", "`"))
    assert rule.bad
    assert rule.good


@pytest.mark.parametrize("base", ["python", "vllm", "checkpoint", "ensemble"])
def test_the_bases_of_examples_are_sound(base: str, tmp_path: Path) -> None:
    write_example(Example(base=base), tmp_path)
    assert check.validate_all([tmp_path]).findings == ()


def test_a_subject_belongs_to_one_family() -> None:
    families = {rule.subject: rule.family for rule in RULES}
    assert [rule.id for rule in RULES if families[rule.subject] != rule.family] == []

"""The contract of every rule: it finds its bad examples and passes its good ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.tables import check_rows
from trtbuild import check
from trtbuild.check import Example, Report, Rule, Severity, write_example
from trtbuild.check.families import FAMILIES

RULES = check.all_rules()
Judgement = Callable[[Rule, Report], None]


def judge(rows: list[tuple[Rule, Example]], passes: Judgement, folder: Path) -> None:
    """Judge each example in a repository of its own."""

    def check_row(row: tuple[int, tuple[Rule, Example]]) -> None:
        number, (rule, example) = row
        repo = folder / str(number) / "repo"
        repo.mkdir(parents=True)
        passes(rule, check.judge_example(rule, example, repo))

    check_rows(enumerate(rows), check_row, lambda row: f"{row[1][0].id}: {row[1][1]}")


@pytest.mark.slow
def test_a_bad_example_is_found(tmp_path: Path) -> None:
    def passes(rule: Rule, report: Report) -> None:
        found = [finding for finding in report.findings if finding.rule == rule.id]
        assert found, f"{rule.id} does not find its own bad example; found {report.findings}"
        for finding in found:
            assert finding.message
            assert finding.fix

    judge([(rule, example) for rule in RULES for example in rule.bad], passes, tmp_path)


@pytest.mark.slow
def test_a_good_example_is_sound(tmp_path: Path) -> None:
    def passes(rule: Rule, report: Report) -> None:
        assert [finding for finding in report.findings if finding.rule == rule.id] == []
        assert [found for found in report.findings if found.severity is Severity.ERROR] == []

    judge([(rule, example) for rule in RULES for example in rule.good], passes, tmp_path)


def test_a_rule_says_what_it_is() -> None:
    def check_rule(rule: Rule) -> None:
        assert rule.family in FAMILIES
        assert len(rule.title) < 90
        assert not rule.title.endswith(".")
        assert len(rule.explanation) > 30
        assert rule.explanation.endswith((".", "?", "`"))
        assert rule.bad
        assert rule.good

    check_rows(RULES, check_rule, lambda rule: rule.id)


@pytest.mark.parametrize("base", ["python", "vllm", "checkpoint", "ensemble"])
def test_the_bases_of_examples_are_sound(base: str, tmp_path: Path) -> None:
    write_example(Example(base=base), tmp_path)
    assert check.validate_all([tmp_path]).findings == ()


def test_a_subject_belongs_to_one_family() -> None:
    families = {rule.subject: rule.family for rule in RULES}
    assert [rule.id for rule in RULES if families[rule.subject] != rule.family] == []

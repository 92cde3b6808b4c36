"""Validation as any caller runs it: fixes, baseline and live check without a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from trtbuild.check import Example, Finding, Severity, write_example
from trtbuild.check.autofix import FileChange
from trtbuild.errors import UsageError
from trtbuild.pipeline import live
from trtbuild.pipeline.validate import Validated, ValidateRequest, read_request, validate

pytestmark = pytest.mark.usefixtures("tmp_path")  # repositories lie in the current directory

BAD = "max_batch_size: -1\ninstance_group [ { count: 0 kind: KIND_CPU } ]"


def repository(config: str = BAD) -> Path:
    path = Path("mr")
    path.mkdir(exist_ok=True)
    write_example(Example(config), path)
    return path


def found(outcome: Validated) -> list[str]:
    return [finding.rule for finding in outcome.report.findings]


def test_nothing_is_changed_without_approval() -> None:
    config = repository() / "m/config.pbtxt"
    before = config.read_text()
    shown: list[tuple[FileChange, ...]] = []

    def refuse(changes: tuple[FileChange, ...]) -> bool:
        shown.append(changes)
        return False

    request = ValidateRequest((Path("mr"),))
    assert found(validate(request)) == found(validate(request, approve=refuse))
    assert [change.file for change in shown[0]] == ["m/config.pbtxt"]
    assert config.read_text() == before


def test_approved_changes_are_written_and_judged_again() -> None:
    repository()
    outcome = validate(ValidateRequest((Path("mr"),)), approve=bool)
    assert (outcome.changed, outcome.report.ok) == (1, True)


def test_a_baseline_counts_what_is_gone_only_when_everything_was_looked_at() -> None:
    repository()
    known = Path("known.json")
    validate(ValidateRequest((Path("mr"),), baseline=known, update_baseline=True))
    repository("")
    assert validate(read_request([Path("mr")], baseline=known)).outdated == 2
    assert validate(read_request([Path("mr")], baseline=known, select=["TRT3"])).outdated == 0


def test_an_error_skips_the_live_check(monkeypatch: pytest.MonkeyPatch) -> None:
    more = Finding("TRT951", Severity.ERROR, "m", "m", 0, 0, "the model did not load", "", "fix it")
    monkeypatch.setattr(live, "live_check", lambda *_, **__: (more,))
    repository()
    outcome = validate(ValidateRequest((Path("mr"),), live=True))
    assert outcome.live_skipped
    assert "TRT951" not in found(outcome)
    repository("")
    outcome = validate(ValidateRequest((Path("mr"),), live=True))
    assert not outcome.live_skipped
    assert [(one.rule, one.repository) for one in outcome.report.findings] == [("TRT951", "mr")]


def test_a_known_error_still_skips_the_live_check() -> None:
    repository()
    known = Path("known.json")
    request = read_request([Path("mr")], baseline=known, update_baseline=True, live=True)
    outcome = validate(request)
    assert (outcome.report.ok, outcome.live_skipped) == (True, True)


def test_checkpoints_need_a_name() -> None:
    repository("")
    with pytest.raises(UsageError, match="not of the form NAME=SOURCE"):
        read_request([Path("mr")], live=True, checkpoints=["llama"])

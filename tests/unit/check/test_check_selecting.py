"""Which findings count: options, comments in files, several repositories."""

from __future__ import annotations

from pathlib import Path

import pytest

from trtbuild import check
from trtbuild.check import Example, Options, Report, Selection, Severity, write_example
from trtbuild.check.selecting import parse_codes
from trtbuild.errors import UsageError


def judged(repo: Path, config: str, selection: Selection = check.EVERYTHING) -> Report:
    write_example(Example(config), repo)
    return check.validate(repo, selection=selection)


def rules(report: Report) -> list[str]:
    return [found.rule for found in report.findings]


FAULTS = "max_batch_size: -1\ninstance_group [ { count: 0 kind: KIND_CPU gpus: [ 0 ] } ]"
IDS = ["TRT303", "TRT501", "TRT504"]


@pytest.mark.parametrize(
    ("select", "ignore", "expected"),
    [
        ((), (), IDS),
        (("TRT5",), (), ["TRT501", "TRT504"]),
        (("TRT504",), (), ["TRT504"]),
        ((), ("TRT5",), ["TRT303"]),
        (("TRT504",), ("TRT5",), ["TRT504"]),
        (("TRT5",), ("TRT504",), ["TRT501"]),
        (("instances",), (), ["TRT501", "TRT504"]),
        ((), ("instances", "config"), []),
        (("TRT504",), ("TRT504",), []),
    ],
)
def test_the_closer_code_decides(
    repo: Path, select: tuple[str, ...], ignore: tuple[str, ...], expected: list[str]
) -> None:
    assert rules(judged(repo, FAULTS, Selection(select, ignore))) == expected


def test_codes_are_taken_as_people_write_them() -> None:
    assert parse_codes(["trt1, TRT205", "Layout"], "--select") == ("TRT1", "TRT205", "layout")


def test_an_unknown_code_is_an_error_with_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        parse_codes(["layuot"], "--select")
    assert "did you mean layout?" in caught.value.fix
    assert caught.value.where == "--select"


def test_severity_can_be_changed(repo: Path) -> None:
    changed = Selection(severity={"TRT5": Severity.INFO, "TRT303": Severity.WARNING})
    report = judged(repo, FAULTS, changed)
    assert report.ok
    assert {found.rule: found.severity.value for found in report.findings} == {
        "TRT303": "warning",
        "TRT501": "info",
        "TRT504": "info",
    }


def test_ignored_for_some_models(repo: Path) -> None:
    ignoring = Selection(per_model={"m*": ("TRT5",), "other": ("TRT3",)})
    assert rules(judged(repo, FAULTS, ignoring)) == ["TRT303"]


@pytest.mark.parametrize(
    ("config", "expected", "ignored"),
    [
        ("max_batch_size: -1  # trtbuild: ignore[TRT303]", [], 1),
        ("# trtbuild: ignore[TRT303]\n\nmax_batch_size: -1", [], 1),
        ("# trtbuild: ignore[TRT3, TRT5]\nmax_batch_size: -1", ["TRT190"], 1),
        ("max_batch_size: -1  #trtbuild:ignore[TRT504]", ["TRT303", "TRT190"], 0),
        ("# trtbuild: ignore[TRT303]\nname: 'm'\nmax_batch_size: -1", ["TRT303", "TRT190"], 0),
        ("max_batch_size: -1\n# trtbuild: ignore-model[TRT303]", [], 1),
        ("max_batch_size: -1  # trtbuild: ignore[]", ["TRT303"], 0),
    ],
)
def test_comments(repo: Path, config: str, expected: list[str], ignored: int) -> None:
    report = judged(repo, config)
    assert rules(report) == expected
    assert report.ignored == ignored


def test_a_comment_hides_the_error_of_the_parser_too(repo: Path) -> None:
    assert judged(repo, "nmae: 'm'  # trtbuild: ignore[TRT101]").ok


def test_the_model_comment_hides_what_has_no_line(repo: Path) -> None:
    (repo / "m/01").mkdir(parents=True)
    assert rules(judged(repo, "")) == ["TRT205"]
    assert rules(judged(repo, "# trtbuild: ignore-model[TRT205]")) == []


def test_a_comment_in_a_python_file(repo: Path) -> None:
    broken = "def (:  # trtbuild: ignore[TRT601]\n"
    write_example(Example(files={"m/1/model.py": broken}), repo)
    assert "TRT601" not in rules(check.validate(repo))
    (repo / "m/1/model.py").write_text("def (:\n")
    assert "TRT601" in rules(check.validate(repo))


def test_nothing_is_said_of_comments_when_only_some_rules_run(repo: Path) -> None:
    comment = "max_batch_size: 1  # trtbuild: ignore[TRT303]"
    assert rules(judged(repo, comment, Selection(select=("TRT4",)))) == []


def test_several_repositories_are_told_apart(tmp_path: Path) -> None:
    for name, config in (("one", "max_batch_size: -1"), ("two", "")):
        (tmp_path / name).mkdir()
        write_example(Example(config), tmp_path / name)
    report = check.validate_all([tmp_path / "one", tmp_path / "two"], Options())
    assert report.models == 2
    found = next(found for found in report.findings if found.rule == "TRT303")
    assert (found.repository, found.file) == (str(tmp_path / "one"), "m/config.pbtxt")
    assert not check.validate_all([tmp_path / "two", tmp_path / "one"], model="m").ok
    with pytest.raises(UsageError, match=r"there is no model 'x' in .*one.*, .*two"):
        check.validate_all([tmp_path / "one", tmp_path / "two"], model="x")

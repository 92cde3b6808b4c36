"""Safe changes: they remove their finding, bring no error, and touch nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from trtbuild import check, pbtxt
from trtbuild.check import Example, Rule, autofix, write_example
from trtbuild.check.autofix import Insert, Remove, Replace
from trtbuild.check.model import Edit
from trtbuild.check.opening import open_repository
from trtbuild.check.options import Options
from trtbuild.errors import BuildError
from trtbuild.located.positions import Position

FIXABLE = [rule for rule in check.all_rules() if rule.autofix]


@pytest.mark.parametrize("rule", FIXABLE, ids=lambda rule: rule.id)
def test_an_autofix_removes_its_finding(rule: Rule, repo: Path) -> None:
    write_example(rule.bad[0], repo)
    before = check.validate(repo)
    changes = autofix.changes(found for found in before.findings if found.rule == rule.id)
    assert changes
    autofix.write(changes)
    after = check.validate(repo)
    assert rule.id not in {found.rule for found in after.findings}
    assert {f.rule for f in after.findings} <= {f.rule for f in before.findings}
    assert autofix.changes(after.findings) == ()


TEXT = """\
name: "m"  # the name
backend: "python"
instance_group [
  {
    count: 0
    kind: KIND_CPU
    gpus: [ 0, 1 ]
  },
  { count: 2 profile: "a", profile: "b" kind: KIND_CPU }
]
max_batch_size: -1
"""


def fixed(kind: object, path: tuple[str | int, ...], repo: Path, text: str = TEXT) -> str:
    write_example(Example(files={"m/config.pbtxt": text}), repo)
    model = open_repository(repo, Options()).models[0]
    change = kind(model, model.at(*path))  # type: ignore[operator]
    assert isinstance(change, Edit)
    return text[: change.begin] + change.text + text[change.end :]


@pytest.mark.parametrize(
    ("kind", "path", "old", "new"),
    [
        (Replace("0"), ("max_batch_size",), "size: -1", "size: 0"),
        (Replace('"{model}s"'), ("name",), '"m"  #', '"ms"  #'),
        (Remove(), ("instance_group", 0, "gpus"), "    gpus: [ 0, 1 ]\n", ""),
        (Remove(), ("instance_group", 1, "profile", 0), 'profile: "a", ', ""),
        (Remove(), ("instance_group", 1, "profile", 1), 'profile: "b" ', ""),
        (Remove(), ("max_batch_size",), "max_batch_size: -1\n", ""),
        (Insert("version_policy { }"), (), "name\n", "name\nversion_policy { }\n"),
    ],
)
def test_only_what_is_meant_changes(
    kind: object, path: tuple[str | int, ...], old: str, new: str, repo: Path
) -> None:
    assert old in TEXT
    assert fixed(kind, path, repo) == TEXT.replace(old, new, 1)


def test_a_whole_list_is_removed(repo: Path) -> None:
    text = fixed(Remove(), ("instance_group", 0), repo)
    assert text == 'name: "m"  # the name\nbackend: "python"\nmax_batch_size: -1\n'


@pytest.mark.parametrize("text", ['name: "m" backend: "python"', 'backend: "python"', 'name: "m"'])
def test_a_line_is_inserted_anywhere(text: str, repo: Path) -> None:
    config = pbtxt.parse(fixed(Insert("max_batch_size: 3"), (), repo, text))
    assert config.max_batch_size == 3


def test_what_is_right_already_is_not_changed(repo: Path) -> None:
    write_example(Example('name: "m"\nmax_batch_size: 0'), repo)
    model = open_repository(repo, Options()).models[0]
    assert Replace("0")(model, model.at("max_batch_size")) is None
    assert Replace('"{model}"')(model, model.at("name")) is None


def test_a_message_is_never_replaced_by_a_value(repo: Path) -> None:
    write_example(Example("model_transaction_policy { }"), repo)
    model = open_repository(repo, Options()).models[0]
    at = model.at("model_transaction_policy", "decoupled")
    assert Replace("true")(model, at) is None
    assert Remove()(model, Position(99, 1)) is None


def test_several_changes_of_a_file_are_one(repo: Path) -> None:
    write_example(Example(TEXT.replace(' profile: "a", profile: "b"', "")), repo)
    (change,) = autofix.changes(check.validate(repo).findings)
    assert set(change.rules) >= {"TRT303", "TRT501", "TRT504"}
    added = [line for line in change.diff() if line.startswith("+") and line[1] != "+"]
    assert added == ["+    count: 1", "+max_batch_size: 0"]


def test_what_is_not_utf8_is_left_alone(repo: Path) -> None:
    write_example(Example("max_batch_size: -1"), repo)
    path = repo / "m/config.pbtxt"
    path.write_bytes(path.read_bytes() + b'parameters { key: "k" value { string_value: "\xff" } }')
    assert autofix.changes(check.validate(repo).findings) == ()


def test_mode_and_links_survive(repo: Path) -> None:
    write_example(Example("max_batch_size: -1"), repo)
    path = repo / "m/config.pbtxt"
    path.rename(repo / "m/real.pbtxt")
    path.symlink_to("real.pbtxt")
    (repo / "m/real.pbtxt").chmod(0o640)
    autofix.write(autofix.changes(check.validate(repo).findings))
    assert path.is_symlink()
    assert (repo / "m/real.pbtxt").stat().st_mode & 0o777 == 0o640
    assert "max_batch_size: 0" in path.read_text()


def test_a_file_that_cannot_be_written(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_example(Example("max_batch_size: -1"), repo)
    changes = autofix.changes(check.validate(repo).findings)

    def refused(path: Path, content: bytes) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(autofix, "atomic_write", refused)
    with pytest.raises(BuildError, match="cannot be written: Permission denied"):
        autofix.write(changes)

"""Every rule finds its fault, at its place, and a sound repository has none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.config_faults import CONFIGS, PYTHON, edit
from support.engine_repos import write_engine_repo
from support.faults import only, python_model
from trtbuild import check
from trtbuild.check import Finding, Severity, running
from trtbuild.check.context import Model
from trtbuild.check.engine import Rule
from trtbuild.check.examples import MODEL_PY
from trtbuild.errors import UsageError


def test_a_sound_repository_has_no_findings(repo: Path) -> None:
    python_model(repo)
    assert check.validate(repo).findings == ()


def test_a_converted_repository_has_no_findings(converted: Path) -> None:
    assert check.validate(converted).findings == ()
    assert check.validate(converted, full=True).findings == ()


def test_a_moved_repository_has_no_findings(bot: Path, tmp_path: Path) -> None:
    bot.rename(tmp_path / "elsewhere")
    assert check.validate(tmp_path / "elsewhere", full=True).findings == ()


@pytest.mark.parametrize(
    ("text", "rule", "line", "column", "server"),
    CONFIGS,
    ids=[f"{row[1]}-{number}" for number, row in enumerate(CONFIGS)],
)
def test_a_fault_of_config_pbtxt(
    repo: Path, text: str, rule: str, line: int, column: int, server: str
) -> None:
    python_model(repo, text)
    found = only(check.validate(repo), rule)
    assert (found.file, found.model) == ("m/config.pbtxt", "m")
    assert (found.line, found.column) == (line, column)
    assert found.server_message.startswith(server)
    assert found.fix


def test_an_unknown_field_has_the_nearest_name(repo: Path) -> None:
    python_model(repo, edit("data_type", "datatype"))
    found = only(check.validate(repo), "TRT101")
    assert found.message.startswith("there is no field 'datatype' in ModelInput")
    assert "did you mean 'data_type'?" in found.message


def test_a_field_newer_than_the_server(repo: Path) -> None:
    python_model(repo, PYTHON + "model_metrics { }\n")
    assert check.validate(repo, triton="24.11").ok
    found = only(check.validate(repo, triton="24.10"), "TRT103")
    assert (found.line, found.column) == (6, 1)
    assert found.message == "'model_metrics' came with Triton 24.11, but this model is for 24.10"


def test_a_folder_without_config(repo: Path) -> None:
    python_model(repo)
    (repo / ".hidden").mkdir()
    found = only(check.validate(repo), "TRT201")
    assert (found.model, found.file) == (".hidden", ".hidden")
    assert found.server_message == (
        "Poll failed for model directory '.hidden': failed to open text file for read"
    )


def test_what_an_interrupted_run_left(repo: Path) -> None:
    python_model(repo)
    (repo / ".repo.trtbuild-0123").mkdir()
    assert "interrupted trtbuild" in only(check.validate(repo), "TRT201").message


def test_versions(repo: Path) -> None:
    folder = python_model(repo, version="01")
    report = check.validate(repo)
    assert only(report, "TRT203").message == "there is no version directory"
    assert only(report, "TRT205").severity is Severity.WARNING
    (folder / "01").rename(folder / "0")
    assert check.validate(repo).findings == ()


def test_a_missing_version_is_an_error_only_if_it_is_the_last(repo: Path) -> None:
    policy = "version_policy { specific { versions: [ %s ] } }"
    folder = python_model(repo, PYTHON + policy % "1, 3")
    assert check.validate(repo).ok
    (folder / "config.pbtxt").write_text(PYTHON + policy % "3")
    assert not check.validate(repo).ok


def test_the_backend_may_be_inferred_from_a_file(repo: Path) -> None:
    folder = python_model(repo, edit('backend: "python"\n', ""))
    assert check.validate(repo).findings == ()
    (folder / "1/model.py").rename(folder / "1/other.py")
    found = only(check.validate(repo), "TRT301")
    assert found.server_message.startswith("Invalid model name: Could not determine backend")


def test_a_python_model_without_model_py(repo: Path) -> None:
    folder = python_model(repo)
    (folder / "1/model.py").unlink()
    assert only(check.validate(repo), "TRT751").file == "m/1/model.py"
    (folder / "1/main.py").write_text(MODEL_PY)
    (folder / "config.pbtxt").write_text(PYTHON + 'default_model_filename: "main.py"')
    assert check.validate(repo).ok


def test_names_that_a_shell_or_a_url_would_not_take(repo: Path) -> None:
    python_model(repo, edit('"m"', '"a b"'), name="a b")
    assert only(check.validate(repo), "TRT206").severity is Severity.WARNING


def test_links_out_of_the_repository(repo: Path, tmp_path: Path) -> None:
    folder = python_model(repo)
    (tmp_path / "outside").touch()
    (folder / "1/data").symlink_to(tmp_path / "outside")
    (folder / "1/own").symlink_to("model.py")
    found = only(check.validate(repo), "TRT207")
    assert found.file == "m/1/data"
    assert found.severity is Severity.WARNING


def test_bytes_that_are_not_utf8_are_loaded_by_the_server(repo: Path) -> None:
    folder = python_model(repo)
    text = PYTHON.encode() + b'parameters { key: "k" value { string_value: "\xff" } }'
    (folder / "config.pbtxt").write_bytes(text)
    found = only(check.validate(repo), "TRT102")
    assert (found.severity, found.line, found.column) == (Severity.WARNING, 6, 46)


def test_a_config_that_is_a_folder(repo: Path) -> None:
    folder = python_model(repo)
    (folder / "config.pbtxt").unlink()
    (folder / "config.pbtxt").mkdir()
    assert not check.validate(repo).ok
    only(check.validate(repo), "TRT102")


def test_an_empty_repository_is_not_valid(repo: Path) -> None:
    assert only(check.validate(repo), "TRT208").severity is Severity.ERROR


def test_no_repository(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        check.validate(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is not a directory"):
        check.validate(tmp_path / "file")


def test_one_model_of_several(repo: Path) -> None:
    python_model(repo)
    python_model(repo, "x", name="n")
    assert check.validate(repo, model="m").ok
    assert not check.validate(repo, model="n").ok
    with pytest.raises(UsageError, match="no model 'o'"):
        check.validate(repo, model="o")


def test_an_unknown_release(repo: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown Triton release '1\.0'"):
        check.validate(repo, triton="1.0")


def test_completion_by_the_server_may_fill_in_tensors(repo: Path) -> None:
    python_model(repo, edit(" dims: [ 1 ]", ""))
    assert not check.validate(repo).ok


def test_a_link_to_the_outside_is_not_followed(repo: Path, tmp_path: Path) -> None:
    folder = python_model(repo)
    (folder / "config.pbtxt").rename(tmp_path / "elsewhere.pbtxt")
    (folder / "config.pbtxt").symlink_to(tmp_path / "elsewhere.pbtxt")
    report = check.validate(repo)
    assert only(report, "TRT207").file == "m/config.pbtxt"
    assert [found.rule for found in report.findings] == ["TRT207"]


def test_a_linked_model_is_not_followed(repo: Path, tmp_path: Path) -> None:
    python_model(tmp_path, "this is not a config", name="m")
    (repo / "m").symlink_to(tmp_path / "m")
    assert only(check.validate(repo), "TRT207").message.startswith("m is a link to ")


def test_pipes_and_circles_are_told_and_not_read(repo: Path) -> None:
    folder = python_model(repo)
    os.mkfifo(folder / "1/pipe")
    (folder / "1/loop").symlink_to("loop")
    (folder / "1/up").symlink_to("..")
    found = [found for found in check.validate(repo).findings if found.rule == "TRT209"]
    assert [found.file for found in found] == ["m/1/loop", "m/1/pipe"]


def test_a_config_that_is_a_pipe_is_not_waited_for(repo: Path) -> None:
    folder = python_model(repo)
    (folder / "config.pbtxt").unlink()
    os.mkfifo(folder / "config.pbtxt")
    assert only(check.validate(repo), "TRT102").message.endswith("it is not a file")


def test_a_gigabyte_is_not_read(repo: Path) -> None:
    folder = python_model(repo)
    os.truncate(folder / "config.pbtxt", 1 << 30)
    assert "1,073,741,824 bytes" in only(check.validate(repo), "TRT102").message


def test_names_cannot_write_to_the_terminal(repo: Path) -> None:
    python_model(repo, name="a\x1b[31m")
    python_model(repo, name=os.fsdecode(b"\xff"))
    for found in check.validate(repo).findings:
        assert (found.model + found.file + found.message + found.server_message).isprintable()


def test_a_rule_that_fails_is_a_finding(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python_model(repo)
    rules = check.all_rules()

    def fails(model: Model) -> Iterator[object]:
        raise KeyError("oops")
        yield

    broken = replace(next(rule for rule in rules if rule.id == "TRT303"), check=fails)
    monkeypatch.setattr(running, "all_rules", lambda: (broken,))
    found = only(check.validate(repo), "TRT000")
    assert found.message == "the rule TRT303 failed, so it says nothing: KeyError: 'oops'"
    assert found.severity is Severity.ERROR


def test_a_rule_looks_at_a_model_once_whatever_is_made_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[tuple[str, str]] = []
    apply = running._apply

    def noted(rule: Rule, subject: object, model: str) -> Iterator[Finding]:
        if isinstance(subject, Model):
            looked.append((rule.id, model))
        return apply(rule, subject, model)

    monkeypatch.setattr(running, "_apply", noted)
    write_engine_repo(tmp_path)  # an ensemble of three
    check.validate(tmp_path)
    assert len(looked) == len(set(looked)) > 0
    assert {("TRT373", "ensemble"), ("TRT301", "preprocessing")} <= set(looked)


def test_the_same_fault_a_thousand_times_is_told_a_hundred_times(repo: Path) -> None:
    python_model(repo, edit("dims: [ 1 ]", f"dims: [ {', '.join(['0'] * 1000)} ]"))
    found = [found for found in check.validate(repo).findings if found.rule == "TRT404"]
    assert len(found) == 101

"""``trtbuild validate``: options, exit codes, output, files it writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from support.command_line import trtbuild
from trtbuild import toolchain
from trtbuild.check import Example, write_example
from trtbuild.cli.app import app, main
from trtbuild.errors import BuildError, ExitCode, RecipeError, TrtbuildError, UsageError

pytestmark = pytest.mark.usefixtures("tmp_path")  # repositories lie in the current directory

BAD = "max_batch_size: -1\nbackend: 'python'\ninstance_group [ { count: 0 kind: KIND_CPU } ]"


def repository(config: str = BAD, name: str = "mr") -> Path:
    path = Path(name)
    path.mkdir(exist_ok=True)
    write_example(Example(config), path)
    return path


def run(*args: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, ["validate", *args], input=stdin, catch_exceptions=False)


def error(*args: str) -> TrtbuildError:
    with pytest.raises(TrtbuildError) as caught:
        run(*args)
    return caught.value


def rules(*args: str) -> list[str]:
    return [row["rule"] for row in json.loads(run(*args, "--json").stdout)["findings"]]


def test_exit_codes() -> None:
    repository("")
    assert run("mr").exit_code == ExitCode.OK
    repository()
    assert run("mr").exit_code == ExitCode.REPOSITORY
    assert run("mr", "--ignore", "TRT303").exit_code == ExitCode.OK
    assert error("nowhere").exit_code == ExitCode.USAGE


def test_the_default_is_model_repository() -> None:
    repository("", "model_repository")
    assert run().stdout.endswith("\n✓ model_repository is valid: 1 model\n")


def releases(*args: str) -> list[tuple[str, str]]:
    rows = json.loads(run(*args, "--json").stdout)["releases"]
    return [(row["triton"], row["from"]) for row in rows]


def test_the_release_that_counts_is_shown_with_who_named_it() -> None:
    repository("")
    newest = toolchain.newest().triton
    assert releases("mr") == [(newest, "default")]
    assert (
        f"checked against Triton {newest} (the newest confirmed release; use --triton"
        in run("mr").stdout
    )
    assert releases("mr", "--triton", "24.10") == [("24.10", "flag")]
    assert "checked against Triton 24.10 (--triton)\n" in run("mr", "--triton", "24.10").stdout
    Path("trtbuild.yaml").write_text("validate: {triton: 25.05}")
    assert releases("mr") == [("25.05", "recipe")]
    assert "checked against Triton 25.05 (trtbuild.yaml)\n" in run("mr").stdout
    assert releases("mr", "--triton", "24.10") == [("24.10", "flag")]


@pytest.mark.parametrize(
    ("release", "instead"),
    [
        ("22.12", "use --triton 24.06, the oldest known release"),
        ("2.51.0", "Triton 2.51.0 is release 24.10: use --triton 24.10"),
        ("r24.10", "use --triton 24.10"),
        ("99.01", f"use --triton {toolchain.releases()[0].triton}, the newest known"),
        ("24.6", "use one of "),
    ],
)
def test_a_release_that_is_not_known_has_a_nearest_one(release: str, instead: str) -> None:
    repository("")
    assert instead in error("mr", "--triton", release).fix


def test_several_repositories() -> None:
    repository("", "one")
    repository(BAD, "two")
    result = run("one", "two", "--ignore", "TRT2")
    assert "m  in two" in result.stdout
    assert "one, two are not valid: 1 error, 1 warning" in result.stdout


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (("--format", "xml"), "unknown --format 'xml'"),
        (("--select", "TRTX"), "no rule has the id 'TRTX'"),
        (("--triton", "1.0"), "unknown Triton release '1.0'"),
        (("--model", "x"), "there is no model 'x'"),
        (("--update-baseline",), "--update-baseline needs a file"),
        (("--baseline", "none.json"), "the baseline 'none.json' does not exist"),
    ],
)
def test_what_cannot_be_asked(args: tuple[str, ...], what: str) -> None:
    repository()
    found = error("mr", *args)
    assert isinstance(found, UsageError)
    assert found.what.startswith(what)
    assert found.fix


def test_gpus_cannot_be_negative() -> None:
    repository()
    with pytest.raises(UsageError, match="--gpus: Input should be greater"):
        run("mr", "--gpus", "-1")


def test_completion_is_as_in_the_server_unless_it_is_turned_off() -> None:
    path = repository("")
    (path / "m/config.pbtxt").write_text('name: "m" backend: "vllm" max_batch_size: 0')
    assert "TRT709" not in rules("mr")
    assert "TRT709" in rules("mr", "--no-auto-complete")


def test_a_section_of_trtbuild_yaml() -> None:
    repository()
    Path("trtbuild.yaml").write_text(
        "validate:\n  ignore: [TRT504]\n  severity: {TRT303: warning}\n  per_model: {x: [TRT2]}\n"
    )
    result = run("mr")
    assert result.exit_code == ExitCode.OK
    assert "warning TRT303" in result.stdout
    assert "TRT504" not in result.stdout
    assert rules("mr", "--select", "TRT504", "--config", "trtbuild.yaml") == []
    Path("elsewhere.yaml").write_text("validate: {select: [TRT504]}")
    assert rules("mr", "--config", "elsewhere.yaml") == ["TRT504"]
    assert rules("mr", "--config", "elsewhere.yaml", "--select", "TRT303") == ["TRT303"]


def test_a_release_in_the_section_needs_no_quotes() -> None:
    repository("model_metrics { }")
    Path("trtbuild.yaml").write_text("validate: {triton: 24.10}")
    assert "TRT103" in rules("mr")
    assert "TRT103" not in rules("mr", "--triton", "26.07")


def test_flags_come_before_the_section() -> None:
    path = repository("")
    (path / "m/config.pbtxt").write_text('name: "m" backend: "vllm" max_batch_size: 0')
    Path("trtbuild.yaml").write_text("validate: {auto_complete: false}")
    assert "TRT709" in rules("mr")
    assert "TRT709" not in rules("mr", "--auto-complete")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("validate: {ignroe: [TRT504]}", "unknown key 'validate.ignroe': did you mean 'ignore'?"),
        ("validate: {ignore: TRT504}", "'validate.ignore' must be"),
        ("validate: {ignore: [TRT5x]}", "no rule has the id 'TRT5x'"),
        ("validate: {gpus: -1}", "'validate.gpus' must be"),
        ("validate: {severity: {TRT303: bad}}", "'validate.severity.TRT303' must be"),
        ("validate: {", "the recipe is not YAML"),
        ("validate: 3", "'validate' must be"),
    ],
)
def test_a_section_that_cannot_be(text: str, what: str) -> None:
    repository()
    Path("trtbuild.yaml").write_text(text)
    found = error("mr")
    assert isinstance(found, RecipeError)
    assert found.what.startswith(what), found.what
    assert found.where.startswith("trtbuild.yaml")


def test_convert_takes_a_recipe_with_the_section() -> None:
    from trtbuild.recipe import parse

    recipe = parse("models: [{source: a/b}]\nvalidate: {ignore: [TRT5]}")
    assert recipe.validation.ignore == ("TRT5",)


def test_a_baseline_hides_what_is_known_and_shows_what_is_new() -> None:
    repository()
    result = run("mr", "--baseline", "known.json", "--update-baseline")
    assert result.exit_code == ExitCode.OK
    assert "2 in the baseline" in result.stdout
    assert [row["rule"] for row in json.loads(Path("known.json").read_text())["findings"]] == [
        "TRT303",
        "TRT504",
    ]
    assert run("mr", "--baseline", "known.json").exit_code == ExitCode.OK
    repository("# moved\n" + BAD + "\ndynamic_batching { preferred_batch_size: [ 0 ] }")
    assert "TRT304" in rules("mr", "--baseline", "known.json")
    assert "TRT303" not in rules("mr", "--baseline", "known.json")


def test_a_baseline_of_what_is_fixed_says_so() -> None:
    repository()
    run("mr", "--baseline", "known.json", "--update-baseline")
    repository("")
    result = run("mr", "--baseline", "known.json")
    assert "2 findings of the baseline no longer found" in result.stderr


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 2}', '{"version": 1}', "\xff", "[" * 9**5]
)
def test_a_broken_baseline(text: str) -> None:
    repository()
    Path("known.json").write_text(text)
    found = error("mr", "--baseline", "known.json")
    assert "is not a baseline" in found.what
    assert found.exit_code == ExitCode.USAGE


def test_a_baseline_that_cannot_be_written() -> None:
    repository()
    found = error("mr", "--baseline", "no/folder/known.json", "--update-baseline")
    assert "cannot be written" in found.what


def test_fix_shows_the_diff_and_writes_when_told() -> None:
    path = repository() / "m/config.pbtxt"
    before = path.read_text()
    result = run("mr", "--diff")
    assert "-max_batch_size: -1\n+max_batch_size: 0" in result.stdout
    assert path.read_text() == before
    result = run("mr", "--fix")
    assert "nothing written: add --yes" in result.stderr
    assert path.read_text() == before
    result = run("mr", "--fix", "--yes")
    assert result.exit_code == ExitCode.OK
    assert "-max_batch_size: -1\n+max_batch_size: 0" in result.stdout
    assert "1 file changed" in result.stdout
    assert path.read_text() == before.replace("-1", "0", 1).replace("count: 0", "count: 1")


def test_fix_has_nothing_to_do() -> None:
    repository("")
    assert "no finding can be fixed automatically" in run("mr", "--fix", "--yes").stdout


def test_fix_keeps_json_clean() -> None:
    repository()
    result = run("mr", "--fix", "--yes", "--json")
    document = json.loads(result.stdout)
    assert (document["ok"], document["findings"]) == (True, [])
    assert "+max_batch_size: 0" in result.stderr


def test_fix_that_cannot_write(monkeypatch: pytest.MonkeyPatch) -> None:
    from trtbuild.check import autofix

    repository()

    def refused(path: Path, content: bytes) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(autofix, "atomic_write", refused)
    assert isinstance(error("mr", "--fix", "--yes"), BuildError)


def test_the_program_prints_errors_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["trtbuild", "validate", "nowhere"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == ExitCode.USAGE
    text = capsys.readouterr().err
    assert "'nowhere' does not exist" in text
    assert "Traceback" not in text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("form", ["text", "json", "sarif", "junit", "github"])
def test_any_terminal_can_show_it(encoding: str, form: str) -> None:
    path = repository()
    (path / "mödel ✓").mkdir()
    result = trtbuild("validate", "mr", "--format", form, encoding=encoding)
    assert result.returncode == ExitCode.REPOSITORY, result.stderr
    assert "max_batch_size is -1" in result.stdout
    if form == "text":
        corner = "┌─" if encoding == "utf-8" else "+-"
        assert f"{corner} m/config.pbtxt:1:17" in result.stdout
    else:
        written = result.stdout.encode(encoding, "surrogateescape")
        assert "mödel" in written.decode("utf-8")


def test_the_encoding_that_python_chose_is_kept() -> None:
    (repository() / "mödel ✓").mkdir()
    result = subprocess.run(
        [sys.executable, "-m", "trtbuild", "validate", "mr"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert result.returncode == ExitCode.REPOSITORY, result.stderr
    assert "+- m/config.pbtxt:1:17" in result.stdout.decode("ascii")

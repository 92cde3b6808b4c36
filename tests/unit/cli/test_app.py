"""Every way out of the program has its exit code and a text for a person."""

from __future__ import annotations

import ast
import errno
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from support.command_line import trtbuild
from trtbuild import __version__, errors
from trtbuild.cli import app as cli
from trtbuild.cli import commands

Boom = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def boom(monkeypatch: pytest.MonkeyPatch) -> Boom:
    """``trtbuild boom``, which raises the error that it is given."""
    monkeypatch.setattr(cli.app, "registered_commands", [])

    def run(error: BaseException, *args: str) -> subprocess.CompletedProcess[str]:
        @cli.app.command("boom")
        def _(json: bool = False) -> None:
            raise error

        return trtbuild("boom", *args)

    return run


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("UsageError", 2),
        ("RecipeError", 3),
        ("UnsupportedError", 4),
        ("BuildError", 5),
        ("RepositoryError", 6),
        ("ServerError", 7),
        ("BenchError", 8),
    ],
)
def test_an_error_prints_its_fix_and_exits_with_its_code(name: str, code: int, boom: Boom) -> None:
    kind: type[errors.TrtbuildError] = getattr(errors, name)
    result = boom(kind("it broke", where="a.json", fix="fix it", details=("one", "two")))
    assert result.returncode == code == kind.exit_code
    assert result.stdout == ""
    for part in ("error: it broke", "at: a.json", "- one", "- two", "fix: fix it"):
        assert part in result.stderr
    assert "Traceback" not in result.stderr


def test_markup_in_a_message_is_printed_as_it_is(boom: Boom) -> None:
    result = boom(errors.UsageError("no [bold]such[/bold] thing [red]"))
    assert "no [bold]such[/bold] thing [red]" in result.stderr


def test_json_puts_the_error_on_standard_output(boom: Boom) -> None:
    result = boom(errors.RecipeError("it broke", fix="fix it"), "--json")
    assert result.returncode == 3
    assert json.loads(result.stdout) == {
        "error": "RecipeError",
        "what": "it broke",
        "where": "",
        "fix": "fix it",
        "details": [],
        "exit_code": 3,
    }


def test_ctrl_c_is_130(boom: Boom) -> None:
    result = boom(KeyboardInterrupt())
    assert (result.returncode, result.stderr.strip()) == (130, "interrupted")


def test_the_end_is_json_in_a_log_of_json(boom: Boom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRTBUILD_LOG_FORMAT", "json")
    stopped = json.loads(boom(KeyboardInterrupt()).stderr)
    assert (stopped["level"], stopped["message"]) == ("info", "interrupted")
    bug = json.loads(boom(ZeroDivisionError("ours")).stderr)
    assert (bug["level"], bug["logger"]) == ("error", "trtbuild")
    Path(bug["fix"].split()[-1]).unlink()


def test_a_bug_leaves_its_traceback_in_a_file(boom: Boom) -> None:
    result = boom(ZeroDivisionError("ours"))
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    log = Path(result.stderr.split()[-1])
    assert "ZeroDivisionError: ours" in log.read_text(encoding="utf-8")
    log.unlink()


def test_a_bug_is_told_where_its_traceback_cannot_be_kept(
    boom: Boom, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    result = boom(ZeroDivisionError("ours"))
    assert result.returncode == 1
    assert "ZeroDivisionError: ours" in result.stderr
    assert "No space left on device" in result.stderr


def test_a_full_disk_is_no_bug(boom: Boom) -> None:
    result = boom(OSError(errno.ENOSPC, "No space left on device"))
    assert result.returncode == 5
    assert "error: the output cannot be written: No space left on device" in result.stderr
    assert "make room" in result.stderr


def test_a_name_that_is_not_utf8_is_escaped_in_json(boom: Boom) -> None:
    result = boom(errors.UsageError("no such file", where=os.fsdecode(b"a\xff")), "--json")
    assert result.returncode == 2
    assert os.fsencode(json.loads(result.stdout)["where"]) == b"a\xff"


def test_closed_streams_are_no_trouble() -> None:
    """What is written to them is nobody's, and no file or child gets their numbers."""
    program = [sys.executable, "-m", "trtbuild", "--version"]
    closing = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    code = "import os; from trtbuild.cli.streams import steady; steady(); print(1, flush=True)"
    code += "; os._exit(os.open(os.devnull, 0))"
    assert subprocess.run([*closing, *program], check=False).returncode == 0
    assert subprocess.run([*closing, sys.executable, "-c", code], check=False).returncode >= 3


def test_the_module_is_the_program() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "trtbuild", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == f"trtbuild {__version__}"


def test_an_unknown_command_is_a_usage_error() -> None:
    result = trtbuild("frobnicate")
    assert result.returncode == 2
    assert "frobnicate" in result.stderr


def test_no_command_prints_the_help_and_is_a_usage_error() -> None:
    done = trtbuild()
    assert done.returncode == 2
    assert done.stdout == trtbuild("--help").stdout
    assert "  convert " in done.stdout


@pytest.mark.parametrize("command", [*commands.OWN, *commands.plugins()], ids=lambda c: c.name)
def test_the_help_lists_a_command_as_the_command_describes_itself(
    command: commands.Command,
) -> None:
    assert not command.problem
    listed = " ".join(trtbuild("--help", env={**os.environ, "COLUMNS": "400"}).stdout.split())
    made = typer.main.get_group(cli.app).commands[command.name]
    paragraph = (made.help or "").partition("\n\n")[0]
    assert " ".join(paragraph.split()) == command.summary
    assert f" {command.name} {command.summary}" in listed


def test_no_word_of_the_help_is_taken_for_markup() -> None:
    """Rich drops ``[extra]``, so that the help would name another package to install."""
    tag = re.compile(r"(?<!\\)\[[a-z][^\]]*\]")

    def texts(name: str, command: Any) -> Iterator[tuple[str, str]]:
        options = (getattr(parameter, "help", "") for parameter in command.params)
        for written in (command.help, command.epilog, *options):
            yield name, written or ""
        for child, made in getattr(command, "commands", {}).items():
            yield from texts(f"{name} {child}", made)

    written = list(texts("trtbuild", typer.main.get_group(cli.app)))
    assert len(written) > 400
    assert [(name, tag.findall(text)) for name, text in written if tag.search(text)] == []


def test_the_help_imports_no_command() -> None:
    code = """
import sys
from trtbuild.cli.app import main
sys.argv = ["trtbuild", "--help"]
try:
    main()
finally:
    print([name for name in sys.modules if name.startswith(("trtbuild", "rich"))], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(done.stderr))
    assert loaded <= {
        "trtbuild", "trtbuild.endings", "trtbuild.errors",
        "trtbuild.cli", "trtbuild.cli.app", "trtbuild.cli.commands", "trtbuild.cli.signals",
        "trtbuild.cli.streams", "trtbuild.cli.values",
        "trtbuild.plugins",
        "trtbuild_artifacts", "trtbuild_artifacts.commands",
        "trtbuild_backends", "trtbuild_backends.commands",
        "trtbuild_batch", "trtbuild_batch.commands",
        "trtbuild_deploy", "trtbuild_deploy.commands",
        "trtbuild_drift", "trtbuild_drift.commands",
        "trtbuild_engine_flow", "trtbuild_engine_flow.commands",
        "trtbuild_importing", "trtbuild_importing.commands",
        "trtbuild_experiments", "trtbuild_experiments.commands",
        "trtbuild_checkpoints", "trtbuild_checkpoints.commands",
        "trtbuild_measure", "trtbuild_measure.commands",
        "trtbuild_gateway", "trtbuild_gateway.commands",
    }  # fmt: skip


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Installs a distribution with commands: ``name="module source"`` of each."""

    def install(points: str, **modules: str) -> None:
        info = tmp_path / "shouting-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{commands.ENTRY_POINT_GROUP}]\n{points}")
        for name, source in modules.items():
            (tmp_path / f"{name}.py").write_text(source)

    monkeypatch.syspath_prepend(tmp_path)
    commands.plugins.cache_clear()
    yield install
    commands.plugins.cache_clear()
    for name in ("shouting", "shouting_command"):
        sys.modules.pop(name, None)


_SHOUT = """
from trtbuild.cli.commands import Command
shout = Command("shout", "Print a word in capitals.", "shouting_command")
validate = Command("validate", "Do nothing.", "shouting_command")
"""
_RUN = """
def register(app): app.command("shout")(shout)
def shout(word: str) -> None: print(word.upper())
"""


def test_a_plug_in_adds_a_command(plugin: Callable[..., None]) -> None:
    plugin("shout = shouting:shout\n", shouting=_SHOUT, shouting_command=_RUN)
    assert "  shout       Print a word in capitals.\n" in trtbuild("--help").stdout
    assert trtbuild("shout", "word").stdout == "WORD\n"
    assert "did you mean trtbuild shout?" in trtbuild("shou").stderr


def test_a_plug_in_is_listed_after_a_command(plugin: Callable[..., None]) -> None:
    """Where trtbuild's own plug-ins are, too; no other package replaces one of them."""
    source = _SHOUT.replace('_command")', '_command", after="bench")', 1)
    source = source.replace("validate", "cost")
    plugin("shout = shouting:shout\ncost = shouting:cost\n", shouting=source)
    names = [command.name for command in commands.listed()]
    at = names.index("infer")
    assert names[at : at + 6] == ["infer", "bench", "eval", "cost", "shout", "status"]
    assert "Do nothing" not in trtbuild("--help").stdout


def test_a_plug_in_that_fails_is_named(plugin: Callable[..., None]) -> None:
    own = _SHOUT.replace("shouting_command", "shouting").replace("shout =", "command =", 1)
    plugin("shout = shouting:command\n", shouting=own + _RUN.replace("print(", "1 / 0, print("))
    failed = trtbuild("shout", "word")
    assert failed.returncode == 1
    assert "error: the plug-in shouting 1.0 failed: ZeroDivisionError" in failed.stderr
    assert "report it to its authors" in failed.stderr


def test_a_plug_in_replaces_no_command(plugin: Callable[..., None]) -> None:
    plugin("validate = shouting:validate\n", shouting=_SHOUT)
    assert "Do nothing" not in trtbuild("--help").stdout


@pytest.mark.parametrize(
    ("modules", "reason"),
    [
        ({}, "ModuleNotFoundError: No module named 'shouting'"),
        ({"shouting": "1 / 0"}, "ZeroDivisionError: division by zero"),
        ({"shouting": "raise SystemExit(0)"}, "SystemExit: 0"),
        ({"shouting": _SHOUT.replace('"Print a word in capitals."', "None")}, "must be text"),
        ({"shouting": _SHOUT, "shouting_command": "raise SystemExit(0)"}, "SystemExit: 0"),
        ({"shouting": "shout = 1"}, "shouting:shout must be a Command named 'shout'"),
        ({"shouting": _SHOUT}, "ModuleNotFoundError: No module named 'shouting_command'"),
        ({"shouting": _SHOUT, "shouting_command": ""}, "has no attribute 'register'"),
    ],
)
def test_a_broken_plug_in_breaks_its_own_command_alone(
    modules: dict[str, str], reason: str, plugin: Callable[..., None], tmp_path: Path
) -> None:
    plugin("shout = shouting:shout\n", **modules)
    listed = trtbuild("--help")
    assert listed.returncode == 0
    assert "\n  shout " in listed.stdout
    done = trtbuild("shout", "word", cwd=tmp_path)
    assert done.returncode == 2
    assert "the command 'shout' of shouting 1.0 cannot be loaded" in done.stderr
    assert reason in done.stderr
    assert "update or uninstall" in done.stderr
    assert trtbuild("schema").returncode == 0


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("convert ./llama --model-repository out", "use --repo"),
        ("convert ./llama -o out", "use --repo"),
        ("convert --model ./llama", "trtbuild convert SOURCE"),
        ("convert ./llama --max-model-len 4096", "--set max_model_len=VALUE"),
        ("convert ./llama --nmae chat", "did you mean --name?"),
        ("serve --model-repository out", "trtbuild serve REPO"),
        ("deploy helm out --output chart", "use --out"),
        ("deploy check chart --quiet", "trtbuild deploy check -h"),
        ("stop -x", "trtbuild stop -h"),
    ],
)
def test_an_option_that_does_not_exist_is_answered_with_the_right_one(line: str, fix: str) -> None:
    done = trtbuild(*line.split())
    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert "has no option -" in first
    assert fix in second


@pytest.mark.parametrize(
    ("line", "what", "fix"),
    [
        ("quantize sample:smollm2", "trtbuild quantize needs --format", "give --format (Number"),
        ("infer", "trtbuild infer needs NAME", "give NAME (Name of the served model)"),
        (
            "plan x --gpus two",
            "trtbuild plan --gpus: Input should be",
            "give --gpus (Number of GPUs",
        ),
        ("plan x --gpus", "trtbuild plan: Option '--gpus' requires", "see trtbuild plan -h"),
        ("list out", "trtbuild list takes no argument out", "use --repo out"),
        ("serve out more", "trtbuild serve takes no argument more", "see trtbuild serve -h"),
        ("statsu", "trtbuild has no command statsu", "did you mean trtbuild status?"),
        ("keys ad bot", "trtbuild keys has no command ad", "did you mean trtbuild keys add?"),
        ("nothing-like-it", "trtbuild has no command nothing-like-it", "trtbuild -h lists"),
    ],
)
def test_a_command_line_that_cannot_be_read_has_a_fix(line: str, what: str, fix: str) -> None:
    done = trtbuild(*line.split())
    assert (done.returncode, done.stdout) == (2, "")
    first, second = done.stderr.splitlines()
    assert what in first
    assert fix in second

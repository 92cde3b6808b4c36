"""Texts and paths of the command line, taken without pydantic but as Typer would take them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from trtbuild.cli import app as cli
from trtbuild.cli import commands, values
from trtbuild.errors import UsageError


def _of(command: Any) -> Iterator[tuple[str, Any]]:
    for param in command.params:
        yield f"{command.name} {param.name}", param
    for member in getattr(command, "commands", {}).values():
        yield from _of(member)


def _params() -> dict[str, Any]:
    made = typer.main.get_group(cli.app).commands
    every = [*commands.OWN, *commands.plugins()]
    return {name: param for command in every for name, param in _of(made[command.name])}


def _convert(param: Any, value: Any) -> Any:
    """Typer's own result."""
    result = param.get_runtime_param().coerce(value, param=param, ctx=None)
    return list(result) if isinstance(result, list | tuple) and result else result


def test_every_option_takes_a_value_as_typer_would(tmp_path: Path) -> None:
    taken = 0
    for name, param in _params().items():
        several = param.multiple or param.nargs == -1
        given = [param.default, None]
        for text in ("name", "", str(tmp_path), str(tmp_path / "missing"), "n" * 300):
            given.append([text, text] if several else text)
        for value in given:
            try:
                plain = values._plain(param, value)
            except values._UnknownError:
                continue
            taken += 1
            assert (plain, type(plain)) == ((typed := _convert(param, value)), type(typed)), name
    assert taken > 500


def test_no_command_needs_pydantic_for_its_defaults() -> None:
    needing = []
    for name, param in _params().items():
        if not param.required and not isinstance(param.default, bool):
            try:
                values._plain(param, param.default)
            except values._UnknownError:
                needing.append(name)
    assert needing == []


@pytest.fixture
def program() -> values.Program:
    """One command with an option of every kind that is not plain."""
    program = values.Program(add_completion=False)

    def run(
        where: Annotated[Path, typer.Argument()],
        *,
        there: Annotated[Path | None, typer.Option(exists=True)] = None,
        number: Annotated[int, typer.Option(min=0, max=9)] = 1,
        word: Annotated[str, typer.Option(callback=lambda value: value.upper())] = "a",
        parsed: Annotated[list[str] | None, typer.Option(parser=lambda text: text[::-1])] = None,
    ) -> None:
        typer.echo(f"{where} {there} {number} {word} {parsed}")

    program.command("run")(run)
    return program


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("x", "x None 1 A None"),
        (". --there . --number 3 --word b", ". . 3 B None"),
        ("x --parsed abc --parsed de", "x None 1 A ['cba', 'ed']"),
    ],
)
def test_what_is_not_plain_is_left_to_typer(program: values.Program, line: str, shown: str) -> None:
    result = CliRunner().invoke(program, line.split())
    assert (result.exit_code, result.output) == (0, f"{shown}\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "run needs WHERE"),
        ("x --there missing", "does not exist"),
        ("x --number 10", "less than or equal to 9"),
        ("x --number ten", "--number: Input should be a valid integer"),
    ],
)
def test_what_typer_refuses_is_refused(program: values.Program, line: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        CliRunner().invoke(program, line.split(), catch_exceptions=False)
    assert message in error.value.what


def test_a_file_that_cannot_be_read_is_a_usage_error(
    program: values.Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UsageError, match="is not readable"):
        CliRunner().invoke(program, [str(tmp_path)], catch_exceptions=False)

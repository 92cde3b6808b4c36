"""``trtbuild doctor``: what this machine can do, and how to fix what it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from trtbuild.cli import options
from trtbuild.cli.output import console, print_json

if TYPE_CHECKING:
    from trtbuild.doctor import Check

_EPILOG = """
Examples:

  trtbuild doctor

  trtbuild doctor --json
"""
_MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "bold red")}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="doctor", epilog=_EPILOG)(doctor)


def doctor(
    as_json: options.AsJson = False,
) -> None:
    """Check Python, disk, shared memory, ports, GPU, containers, hub and runtime.

    Exits with 7 when something fails that every way of serving needs.
    """
    from trtbuild import doctor as checks
    from trtbuild.errors import ExitCode

    report = checks.examine()
    if as_json:
        print_json(report)
    else:
        _print(report)
    if any(check.status == "fail" for check in report):
        raise typer.Exit(ExitCode.SERVER)


def _print(report: tuple[Check, ...]) -> None:
    from rich.text import Text

    out = console()
    width = max(len(check.name) for check in report)
    for check in report:
        mark, style = _MARKS[check.status]
        out.print(Text.assemble((f"{mark} ", style), f"{check.name:<{width}}  {check.message}"))
        if check.fix:
            out.print(Text.assemble(" " * (width + 4), ("fix: ", "green"), check.fix))

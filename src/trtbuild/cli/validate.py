"""``trtbuild validate``: would Triton load this repository?"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from trtbuild.cli import options
from trtbuild.cli.fields import from_fields, option
from trtbuild.progress import counted

if TYPE_CHECKING:
    from trtbuild.check.autofix import FileChange
    from trtbuild.pipeline.validate import Validated

_EPILOG = """
Examples

  trtbuild validate model_repository

  trtbuild validate /srv/models /srv/more --model smollm2 --full

  trtbuild validate model_repository --triton 25.08 --gpus 2 --json

  trtbuild validate model_repository --select TRT4,layout --ignore TRT408

  trtbuild validate model_repository --format sarif > trtbuild.sarif

  trtbuild validate model_repository --baseline known.json --update-baseline

  trtbuild validate model_repository --fix

  trtbuild validate model_repository --live

  trtbuild validate model_repository --live gpu-host:8001
"""

_FORMATS = ("text", "json", "sarif", "github", "junit")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("validate", epilog=_EPILOG)(validate)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidateOptions:
    """What is checked, against what, and how it is reported."""

    repos: tuple[str, ...] = option(
        (),
        "Model repositories; default model_repository. With --live also HOST:PORT.",
        argument=True,
        metavar="REPO",
    )
    model: str = option("", "Check this model only.")
    triton: str = option(
        "", "Release to check against; default: the one the repository was written for."
    )
    gpus: int | None = option(None, "Number of GPUs of the server; default: unknown.", min=0)
    auto_complete: bool | None = option(
        None,
        "Whether the server completes model configurations; default: yes.",
        flag="--auto-complete/--no-auto-complete",
        show_default=False,
    )
    namespacing: bool = option(
        False, "The server runs with --model-namespacing.", flag="--model-namespacing"
    )
    config_name: str = option(
        "", "The server runs with --model-config-name.", flag="--model-config-name"
    )
    select: tuple[str, ...] = option(
        (), "Run only these rules: TRT205, TRT2 or layout; repeatable."
    )
    ignore: tuple[str, ...] = option((), "Skip these rules; repeatable.")
    config: Path | None = option(None, "File with a 'validate' section; default trtbuild.yaml.")
    baseline: Path | None = option(None, "File of known findings, which are not reported.")
    update_baseline: bool = option(False, "Write the findings into --baseline.")
    fix: bool = option(False, "Show the safe changes and ask whether to make them.")
    diff: bool = option(False, "Only show the safe changes.")
    yes: bool = option(False, "Make the changes without asking.", short="-y")
    live: bool = option(
        False,
        "Also load the models on a real server and send requests; followed by HOST:PORT (gRPC) or "
        "http://HOST:PORT, compare that server's tensors and answers instead.",
    )
    checkpoint: tuple[str, ...] = option(
        (), "NAME=SOURCE of a TensorRT-LLM model's stand-in, with --live."
    )
    full: bool = option(False, "Read all weights again, not only those whose size or time changed.")
    form: str = option(
        "text", "Output format: text, json, sarif, github or junit.", flag="--format"
    )
    as_json: options.AsJson = False


@from_fields(ValidateOptions)
def validate(asked: ValidateOptions) -> None:
    """Check model repositories without a server: if this passes, Triton loads them."""
    from trtbuild.cli.output import progress
    from trtbuild.errors import ExitCode
    from trtbuild.pipeline import validate as stage

    form = _known_format("json" if asked.as_json else asked.form)
    paths, running = [Path(repo) for repo in asked.repos], ""
    if asked.live:
        paths, running = stage.with_address(asked.repos)
    names = ("triton", "gpus", "auto_complete", "full", "namespacing", "config_name")
    request = stage.read_request(
        paths or [Path("model_repository")],
        model=asked.model,
        select=asked.select,
        ignore=asked.ignore,
        config=asked.config,
        baseline=asked.baseline,
        update_baseline=asked.update_baseline,
        live=asked.live,
        running=running,
        checkpoints=asked.checkpoint,
        options={name: getattr(asked, name) for name in names},
    )
    with progress() as bars:

        def approve(changes: tuple[FileChange, ...]) -> bool:
            bars.close()  # a bar would draw over the question
            return _approved(changes, ask=not asked.yes, write=asked.fix, aside=form != "text")

        fixing = asked.fix or asked.diff
        outcome = stage.validate(request, approve=approve if fixing else None, progress=bars)
    _print(outcome, request.repositories, form)
    if not outcome.report.ok:
        raise typer.Exit(ExitCode.REPOSITORY)


def _known_format(form: str) -> str:
    if form not in _FORMATS:
        from trtbuild.errors import UsageError

        raise UsageError(f"unknown --format {form!r}", fix=f"use {', '.join(_FORMATS)}")
    return form


def _approved(changes: tuple[FileChange, ...], *, ask: bool, write: bool, aside: bool) -> bool:
    """Show the safe changes; whether to write them."""
    from trtbuild.cli.paint import say
    from trtbuild.cli.validate_view import change_lines

    if not changes:
        typer.echo("no finding can be fixed automatically", err=aside)
        return False
    for line in change_lines(changes):
        say(line, err=aside)
    if not write:
        return False
    files = counted(len(changes), "file")
    if ask and not sys.stdin.isatty():
        typer.echo(f"nothing written: add --yes to change {files}", err=True)
        return False
    return not ask or typer.confirm(f"Change {files}?", err=aside)


def _print(outcome: Validated, paths: tuple[Path, ...], form: str) -> None:
    from trtbuild.cli.paint import say
    from trtbuild.cli.validate_view import report_lines

    report = outcome.report
    if outcome.changed:
        typer.echo(f"{counted(outcome.changed, 'file')} changed", err=form != "text")
    if form == "text":
        for line in report_lines(report, paths):
            say(line)
    else:
        from trtbuild.check.formats import FORMATS

        typer.echo(FORMATS[form](report).encode())  # machines read UTF-8, whatever the terminal is
    if outcome.outdated:
        typer.echo(
            f"{counted(outcome.outdated, 'finding')} of the baseline no longer found; "
            "remove them with --update-baseline",
            err=True,
        )
    if outcome.live_skipped:
        typer.echo("skipped the live check: fix the errors first", err=True)

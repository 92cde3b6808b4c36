"""``trtbuild validate``: would Triton load this repository?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trtbuild.cli import options
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

_Codes = list[str] | None
_FORMATS = ("text", "json", "sarif", "github", "junit")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("validate", epilog=_EPILOG)(validate)


def validate(
    repos: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="REPO",
            help="Model repositories; default model_repository. With --live also HOST:PORT.",
        ),
    ] = None,
    *,
    model: Annotated[str, typer.Option(help="Check this model only.")] = "",
    triton: Annotated[
        str,
        typer.Option(
            help="Release to check against; default: the one the repository was written for."
        ),
    ] = "",
    gpus: Annotated[
        int | None, typer.Option(min=0, help="Number of GPUs of the server; default: unknown.")
    ] = None,
    auto_complete: Annotated[
        bool | None,
        typer.Option(
            "--auto-complete/--no-auto-complete",
            help="Whether the server completes model configurations; default: yes.",
            show_default=False,
        ),
    ] = None,
    namespacing: Annotated[
        bool,
        typer.Option("--model-namespacing", help="The server runs with --model-namespacing."),
    ] = False,
    config_name: Annotated[
        str,
        typer.Option("--model-config-name", help="The server runs with --model-config-name."),
    ] = "",
    select: Annotated[
        _Codes, typer.Option(help="Run only these rules: TRT205, TRT2 or layout; repeatable.")
    ] = None,
    ignore: Annotated[_Codes, typer.Option(help="Skip these rules; repeatable.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="File with a 'validate' section; default trtbuild.yaml.")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="File of known findings, which are not reported.")
    ] = None,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Write the findings into --baseline.")
    ] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Show the safe changes and ask whether to make them.")
    ] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Only show the safe changes.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Make the changes without asking.")
    ] = False,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Also load the models on a real server and send requests; followed by HOST:PORT "
            "(gRPC) or http://HOST:PORT, compare that server's tensors and answers instead.",
        ),
    ] = False,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(help="NAME=SOURCE of a TensorRT-LLM model's stand-in, with --live."),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Read all weights again, not only those whose size or time changed."
        ),
    ] = False,
    form: Annotated[
        str, typer.Option("--format", help="Output format: text, json, sarif, github or junit.")
    ] = "text",
    as_json: options.AsJson = False,
) -> None:
    """Check model repositories without a server: if this passes, Triton loads them."""
    from trtbuild.cli.output import progress
    from trtbuild.errors import ExitCode
    from trtbuild.pipeline import validate as stage

    form = _known_format("json" if as_json else form)
    paths, running = (
        stage.with_address(repos or ()) if live else ([Path(p) for p in repos or ()], "")
    )
    request = stage.read_request(
        paths or [Path("model_repository")], model=model, select=select or (),
        ignore=ignore or (), config=config, baseline=baseline, update_baseline=update_baseline,
        live=live, running=running, checkpoints=checkpoint or (),
        options={
            "triton": triton, "gpus": gpus, "auto_complete": auto_complete, "full": full,
            "namespacing": namespacing, "config_name": config_name,
        },
    )  # fmt: skip
    with progress() as bars:

        def approve(changes: tuple[FileChange, ...]) -> bool:
            bars.close()  # a bar would draw over the question
            return _approved(changes, ask=not yes, write=fix, aside=form != "text")

        outcome = stage.validate(request, approve=approve if fix or diff else None, progress=bars)
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

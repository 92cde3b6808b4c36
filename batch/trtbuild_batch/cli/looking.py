"""``trtbuild batch status``, ``errors`` and ``merge``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trtbuild_batch.output.contents import Contents
    from trtbuild_batch.refreshing.looking import RefreshStatus

_STATUS = """
Examples

  trtbuild batch status out

  trtbuild batch status out --watch

  trtbuild batch status s3://bucket/out --json

  trtbuild batch status state
"""
_ERRORS = """
Examples

  trtbuild batch errors out

  trtbuild batch errors out --json

  trtbuild batch errors out --retry
"""
_MERGE = """
Examples

  trtbuild batch merge out -o answers.parquet

  trtbuild batch merge out -o results.jsonl

  trtbuild batch merge out -o so-far.csv --partial
"""
_SHOWN = 20
_WATCH_SECONDS = 2.0

Out = Annotated[str, typer.Argument(help="The output directory of the job.")]
OfBoth = Annotated[str, typer.Argument(help="The directory of the job or of the refresh.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("status", epilog=_STATUS)(status)
    app.command("errors", epilog=_ERRORS)(errors)
    app.command("merge", epilog=_MERGE)(merge)


def status(
    out: OfBoth,
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Repeat until the job ends.")] = False,
    as_json: Json = False,
) -> None:
    """Show the progress of a job or a refresh: rows, errors, speed and time left."""
    import time

    from trtbuild.cli.output import json_line, print_json
    from trtbuild_batch.refreshing import looking

    _need_something(out)
    while True:
        found = looking.status(out)
        if not as_json:
            typer.echo(_line(found))
        elif watch:
            json_line(found)
        else:
            print_json(found)
        if not watch or found.complete:
            return
        time.sleep(_WATCH_SECONDS)


def _need_something(out: str) -> None:
    """Say that a directory has neither before pyarrow is asked for, which finds no more there."""
    from trtbuild_batch.output import record
    from trtbuild_batch.places import absolute, need_pyarrow

    with contextlib.suppress(OSError, ValueError):  # not a path, or unreadable
        folder = absolute(out)
        names = () if "://" in out else (record.NAME, record.REFRESH)
        if names and not any((folder / name).exists() for name in names):
            raise record.nothing(folder)
    need_pyarrow()


def _line(found: Contents | RefreshStatus) -> str:
    from trtbuild_batch.output.contents import Contents

    return _job(found) if isinstance(found, Contents) else _refresh(found)


def _refresh(found: RefreshStatus) -> str:
    said = [f"{found.vectors} vectors in {found.sink}"]
    if found.embed is None:
        said.append("planning" if found.running else "nothing in progress")
    else:
        state = "refreshing" if found.running else "interrupted, run the refresh again"
        said.append(f"{state}: {found.embed} rows to embed, {found.remove} to remove")
    if found.embedding is not None:
        said.append(f"embedding {_job(found.embedding)}")
    return " · ".join(said)


def _job(found: Contents) -> str:
    from trtbuild_batch.cli.view import duration, tokens

    state = "complete" if found.complete else "running" if found.running else "interrupted"
    said = [state, f"{found.done} of {found.rows} rows"]
    if found.errors:
        said.append(f"{found.errors} with errors")
    said.append(f"{found.parts_done} of {found.parts} parts")
    if found.prompt_tokens or found.completion_tokens:
        said.append(tokens(found.prompt_tokens, found.completion_tokens))
    if found.rows_per_s:
        said.append(f"{found.rows_per_s:.3g} rows/s")
    if found.seconds_left is not None:
        said.append(f"{duration(found.seconds_left)} left")
    return " · ".join(said)


def errors(
    out: Out,
    *,
    retry: Annotated[bool, typer.Option("--retry", help="Retry the rows with errors.")] = False,
    target: Annotated[str, typer.Option(help="With --retry: another server of the model.")] = "",
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="With --retry: calls at a time.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Rows to print at most.")] = _SHOWN,
    as_json: Json = False,
) -> None:
    """List the rows with errors, or retry them. Exits with 7 if any are left."""
    from trtbuild.cli.output import print_json, progress
    from trtbuild.errors import ServerError
    from trtbuild_batch.cli import view
    from trtbuild_batch.jobs import looking

    _need_something(out)
    if retry:
        with progress() as shown, view.live(view.line) as watch:
            looking.retry(out, shown, watch, target=target, concurrency=concurrency)
    rows = list(looking.failed_rows(out))
    counted = looking.kinds(rows)
    if as_json:
        print_json({"errors": len(rows), "kinds": counted, "rows": rows})
    else:
        for row in rows[:limit]:
            name = f" ({row.id})" if row.id is not None else ""
            typer.echo(f"row {row.row}{name}: {row.kind}: {row.error}")
        if len(rows) > limit:
            typer.echo(f"… {len(rows) - limit} more: --limit {len(rows)} prints them")
        if not rows:
            typer.echo("no row has an error")
    if rows:
        raise ServerError(
            f"{len(rows)} rows have an error",
            details=tuple(f"{count} {kind}" for kind, count in counted.items()),
            fix="correct the input or the server; --retry asks about these rows again",
        )


def merge(
    out: Out,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A .parquet, .jsonl or .csv file.")
    ],
    partial: Annotated[
        bool, typer.Option("--partial", help="Accept a job that is not complete.")
    ] = False,
) -> None:
    """Write all rows of a job to one file, in the order of the input."""
    from trtbuild.cli.output import progress
    from trtbuild_batch.jobs import merging

    _need_something(out)
    with progress() as shown:
        rows = merging.merge(out, output, shown, partial=partial)
    typer.echo(f"{rows} rows: {output}")

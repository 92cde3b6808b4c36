"""``trtbuild batch refresh``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from trtbuild.cli.fields import from_fields
from trtbuild_batch.cli.view import Output
from trtbuild_batch.refreshing.options import RefreshOptions

if TYPE_CHECKING:
    from trtbuild_batch.refreshing.run import Refreshed

_EPILOG = """
Embeds only new and changed rows, and removes ids that are missing from the input.

Another model gets a new collection, which then replaces the old one.

After a crash, run the same command again.

Examples

  trtbuild batch refresh docs.parquet -o state --target bge --embed text --id doc --sink vectors.parquet

  trtbuild batch refresh docs.jsonl -o state --target http://gpu1:9000/v1 --model bge --embed text --id doc --keep title --sink qdrant:http://db:6333#docs

  trtbuild batch refresh 's3://bucket/docs/*.parquet' -o s3://bucket/state --target bge --embed text --id doc --sink 'postgresql://app@db/search#docs'
"""  # noqa: E501 - a command is one line


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("refresh", epilog=_EPILOG)(refresh)


@from_fields(RefreshOptions, Output)
def refresh(options: RefreshOptions, output: Output) -> None:
    """Keep a vector database up to date with a table."""
    from trtbuild_batch.places import need_pyarrow

    need_pyarrow()
    show(options, output)


def show(options: RefreshOptions, output: Output) -> None:
    """Refresh, and print what was done."""
    from trtbuild.cli.output import print_json, progress
    from trtbuild_batch.cli import view
    from trtbuild_batch.refreshing.run import refresh as run

    options = options.dated()
    with progress() as shown, view.live(view.line) as watch:
        end = run(options, shown, watch)
    if output.as_json:
        print_json(end)
    else:
        typer.echo(f"{_line(end)}: {options.sink}")
    _require_few_errors(end, options)


def _line(end: Refreshed) -> str:
    known = [f"{end.rows} rows", f"{end.new} new", f"{end.changed} changed"]
    known += [f"{end.removed} removed", f"{end.unchanged} unchanged"]
    if end.errors:
        known.append(f"{end.errors} with errors")
    if end.resumed:
        known.append(f"{end.resumed} of an interrupted refresh")
    return " · ".join(known)


def _require_few_errors(end: Refreshed, options: RefreshOptions) -> None:
    from trtbuild.errors import ServerError
    from trtbuild_batch.refreshing.run import ERRORS

    if end.errors <= options.allow_errors * end.rows:
        return
    later = "they are tried again at the next refresh"
    if not end.shown:
        later = "the new collection is not shown to readers; run the command again to retry them"
    raise ServerError(
        f"{end.errors} of {end.rows} rows have no vector; {later}",
        where=f"{options.out}/{ERRORS}",
        details=tuple(end.why),
        fix="correct the rows or the server; --allow-errors 0.01 accepts one of a hundred",
    )

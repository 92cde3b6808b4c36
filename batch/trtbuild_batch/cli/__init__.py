"""``trtbuild batch``: run a job, look at it, try its errors again, merge its parts."""

from __future__ import annotations

import typer

from trtbuild.cli.values import Program


def register(app: typer.Typer) -> None:
    """Add the commands."""
    from trtbuild_batch.cli import export, looking, refresh, run

    group = Program(
        no_args_is_help=True,
        help="Ask a served model about every row of a table, and resume after a crash.",
    )
    run.register(group)
    refresh.register(group)
    looking.register(group)
    export.register(group)
    app.add_typer(group, name="batch")

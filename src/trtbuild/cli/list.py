"""``trtbuild list``: the models of a repository."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trtbuild.cli import options

_EPILOG = """
Examples

  trtbuild list

  trtbuild list --repo /srv/models --json
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("list", epilog=_EPILOG)(list_)


def list_(
    *,
    repo: Annotated[Path, typer.Option(help="Model repository.")] = Path("model_repository"),
    as_json: options.AsJson = False,
) -> None:
    """List the models of a repository: where they came from, what serves them, their size."""
    from rich.table import Table
    from rich.text import Text

    from trtbuild.cli.output import console, human_bytes, print_json
    from trtbuild.repository import list_models

    models = list_models(repo)
    if as_json:
        print_json(models)
        return
    if not models:
        typer.echo(f"{repo} is empty; add a model: trtbuild convert SOURCE --repo {repo}")
        return
    table = Table(box=None, header_style="dim", pad_edge=False)
    for title in ("MODEL", "BACKEND", "SOURCE", "TRITON"):
        table.add_column(title)
    table.add_column("SIZE", justify="right")
    for model in models:
        source = model.source or "not written by trtbuild"
        note = Text(f"{source}: {model.problem}", style="red") if model.problem else Text(source)
        table.add_row(
            Text(model.name, style="bold"),
            model.backend,
            note,
            model.triton,
            human_bytes(model.bytes),
        )
    console().print(table)

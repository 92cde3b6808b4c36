"""``trtbuild remove``: take a model out of a repository."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trtbuild.cli import options

_EPILOG = """
Examples

  trtbuild remove smollm2

  trtbuild remove smollm2 --repo /srv/models
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("remove", epilog=_EPILOG)(remove)


def remove(
    name: Annotated[str, typer.Argument(help="Full name of the model.", show_default=False)],
    *,
    repo: Annotated[Path, typer.Option(help="Model repository.")] = Path("model_repository"),
    as_json: options.AsJson = False,
) -> None:
    """Remove a model: its directories and its lock entry, atomically."""
    from trtbuild.cli.output import print_json, progress
    from trtbuild.repository import remove as remove_model

    with progress() as bars:
        gone = remove_model(repo, name, progress=bars)
    if as_json:
        print_json({"removed": name, "directories": gone, "repository": repo})
        return
    typer.echo(f"removed {name} from {repo}")

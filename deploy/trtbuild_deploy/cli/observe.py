"""``trtbuild observe``: the deployment target of that name, under its own name."""

from __future__ import annotations

import typer

from trtbuild_deploy.cli.deploy import writer

_EXAMPLES = """
Examples

  trtbuild observe model_repository -o deploy/observe

  trtbuild observe model_repository -f deploy.yaml -o deploy/observe --dry-run --json

  trtbuild deploy diff model_repository -o deploy/observe
"""


def register(app: typer.Typer) -> None:
    """Add the command; it is short for ``trtbuild deploy observe``."""
    from trtbuild_deploy.target import find_target

    help_text = (
        f"{find_target('observe').summary} Short for `trtbuild deploy observe`; an alert whose "
        "metrics this builder and release do not export is left out, and the command says so."
    )
    app.command("observe", help=help_text, epilog=_EXAMPLES)(writer("observe"))

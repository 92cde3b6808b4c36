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


_HELP = (
    "Write Prometheus rules, Alertmanager routes and a dashboard, over metrics that really exist."
    "\n\nShort for `trtbuild deploy observe`. An alert whose metrics this builder and release do "
    "not export is left out, and the command says so."
)


def register(app: typer.Typer) -> None:
    """Add the command; it is short for ``trtbuild deploy observe``."""
    app.command("observe", help=_HELP, epilog=_EXAMPLES)(writer("observe"))

"""``trtbuild batch export``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import typer

from trtbuild.cli.fields import from_fields, option
from trtbuild_batch.scheduling.settings import ExportOptions

_EPILOG = """
The scheduler may run the file again at any time: finished rows are kept.

It contains no password; --secret names the Secret with the job's variables.

Examples

  (crontab -l; trtbuild batch export cron nightly-summaries) | crontab -

  trtbuild batch export cronjob refresh-docs --image registry/trtbuild:1 --secret docs-keys | kubectl apply -f -

  trtbuild batch export argo refresh-docs --image registry/trtbuild:1 --namespace jobs -o refresh-docs.yaml

  trtbuild batch export airflow refresh-docs -o dags/refresh_docs.py
"""  # noqa: E501 - a command is one line


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What is written, and where."""

    kind: str = option(..., "airflow, argo, cron or cronjob.", argument=True)
    name: str = option(..., "A job of the recipe.", argument=True)
    output: str = option("", "The file; default: standard output.", short="-o")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export", epilog=_EPILOG)(export)


@from_fields(Export, ExportOptions)
def export(asked: Export, options: ExportOptions) -> None:
    """Write the file that makes a scheduler run a job of the recipe."""
    from trtbuild.files import atomic_write, disk_trouble
    from trtbuild_batch.places import need_pyarrow
    from trtbuild_batch.scheduling import exporting

    need_pyarrow()
    text = exporting.export(asked.kind, asked.name, options)
    if not asked.output:
        typer.echo(text, nl=False)
        return
    path = Path(asked.output)
    with disk_trouble(path.parent):
        atomic_write(path, text.encode())
    typer.echo(f"wrote {path}")

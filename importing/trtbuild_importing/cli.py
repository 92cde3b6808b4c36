"""``trtbuild import``: an archive of TorchServe becomes models of a repository."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from trtbuild.cli.fields import from_fields, option
from trtbuild_importing.options import ImportOptions

if TYPE_CHECKING:
    from trtbuild_importing.job import Imported

_EPILOG = """
Examples

  trtbuild import resnet.mar

  trtbuild import resnet.mar --input 'FP32[3,224,224]' --output 'FP32[1000]'

  trtbuild import llama.mar --name llama --repo ./models

  trtbuild import sentiment.tar.gz --keep-handler --json
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import", epilog=_EPILOG)(import_)


@dataclass(frozen=True, slots=True)
class Output:
    """How the result is printed."""

    as_json: bool = option(False, "Print the result as JSON.", flag="--json")


@from_fields(ImportOptions, Output)
def import_(options: ImportOptions, output: Output) -> None:
    """Import a TorchServe archive (.mar) into a model repository, without running it."""
    from trtbuild.cli.output import print_json, progress
    from trtbuild_importing.job import import_archive

    with progress() as shown:
        found = import_archive(options, shown)
    if output.as_json:
        print_json(found)
    else:
        _show(found)


def _show(found: Imported) -> None:
    by = f"the builder {found.builder}" if found.builder else f"the {found.served_by} backend"
    if found.served_by in ("onnxruntime", "pytorch"):
        by += " between the handler's steps in Python"
    typer.echo(f"{found.repository}: {', '.join(found.directories)}, served by {by}")
    for one in found.carried:
        typer.echo(f"  {one.torchserve} → {one.triton}")
    if found.lost:
        typer.echo("without a counterpart:")
    for lost in found.lost:
        typer.echo(f"  {lost.what}: {lost.instead}")
    typer.echo(f"next: trtbuild serve {found.repository}")

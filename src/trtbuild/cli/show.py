"""``trtbuild show``: one model in full, with code to call it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trtbuild.cli import options

if TYPE_CHECKING:
    from trtbuild.repository import ModelView, TensorView

_EPILOG = """
Examples

  trtbuild show smollm2

  trtbuild show smollm2 --client grpc > client.py

  trtbuild show smollm2 --host gpu-host --json
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("show", epilog=_EPILOG)(show)


def show(
    name: Annotated[str, typer.Argument(help="Name of the model.", show_default=False)],
    *,
    repo: Annotated[Path, typer.Option(help="Model repository.")] = Path("model_repository"),
    client: Annotated[
        str, typer.Option(help="Print only this client's code: grpc, http or curl.")
    ] = "",
    host: Annotated[str, typer.Option(help="Server's host to write into the code.")] = "localhost",
    as_json: options.AsJson = False,
) -> None:
    """Show a model's tensors and parameters, and client code that is ready to run."""
    from trtbuild.cli.output import print_json
    from trtbuild.errors import UsageError
    from trtbuild.repository import show as show_model

    view = show_model(repo, name, grpc_url=f"{host}:8001", http_url=f"http://{host}:8000")
    if client and client not in view.clients:
        known = ", ".join(view.clients)
        raise UsageError(f"unknown client {client!r}", fix=f"use one of {known}")
    if as_json:
        print_json(view)
    elif client:
        typer.echo(view.clients[client], nl=False)
    else:
        _print(view)


def _print(view: ModelView) -> None:
    from rich.syntax import Syntax
    from rich.text import Text

    from trtbuild.cli.output import console, print_table

    out = console()
    how = "decoupled" if view.decoupled else "one response per request"
    out.print(Text.assemble((view.name, "bold"), f"  backend {view.backend}, {how}"))
    if view.locked:
        from trtbuild.repository import say_source

        out.print(Text(f"from {say_source(view.locked.source)} for Triton {view.locked.triton}"))
    for title, rows in (("INPUT", view.inputs), ("OUTPUT", view.outputs)):
        out.print()
        _print_tensors(title, rows)
    for title, values in (("PARAMETER", view.parameters), ("ENGINE ARGUMENT", view.engine)):
        if values:
            out.print()
            cells = ((key, str(value)) for key, value in values.items())
            print_table((title, "VALUE"), cells, "ellipsis")
    for protocol, code in view.clients.items():
        out.print(Text(f"\n{protocol}", style="dim"))
        language = "bash" if protocol == "curl" else "python"
        out.print(Syntax(code, language, background_color="default", word_wrap=False))


def _print_tensors(title: str, rows: tuple[TensorView, ...]) -> None:
    from rich.text import Text

    from trtbuild.cli.output import print_table

    cells = (
        (
            Text(row.name, style="bold"),
            row.type,
            f"[{', '.join(map(str, row.dims))}]",
            "optional" if row.optional else "",
            row.meaning,
        )
        for row in rows
    )
    print_table((title, "TYPE", "DIMS", "", "MEANING"), cells, "ellipsis")

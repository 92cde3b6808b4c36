"""``trtbuild logs``: what a server wrote."""

from __future__ import annotations

from typing import Annotated

import typer

_EPILOG = """
Examples

  trtbuild logs

  trtbuild logs 3f2a1c --follow

  trtbuild logs --json | jq 'select(.level == "error")'
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("logs", epilog=_EPILOG)(logs)


def logs(
    server_id: Annotated[
        str, typer.Argument(metavar="[ID]", help="Server id; default: the newest log.")
    ] = "",
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new lines until the server ends.")
    ] = False,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Show noise as well: tables, and GPU errors on machines without a GPU."
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line.")
    ] = False,
) -> None:
    """Print a server's log, even after the server has ended."""
    from trtbuild import server
    from trtbuild.cli.server_view import log_printer
    from trtbuild.server import logs as reader

    path = server.latest_log(server_id)
    show = log_printer(as_json=as_json, everything=everything, err=False)

    def ended() -> bool:
        names = (one.id for one in server.servers() if one.health != "dead")
        return not follow or path.parent.name not in names

    for line in reader.follow(path, ended):
        show(line)

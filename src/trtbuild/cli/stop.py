"""``trtbuild stop``: end servers and clear away what crashed ones left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trtbuild.cli import options

if TYPE_CHECKING:
    from trtbuild.server import Stopped

_EPILOG = """
Examples

  trtbuild stop

  trtbuild stop 3f2a1c

  trtbuild stop --all --timeout 5
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("stop", epilog=_EPILOG)(stop)


def stop(
    server_id: Annotated[
        str, typer.Argument(metavar="[ID]", help="Server id; needed when several servers run.")
    ] = "",
    *,
    every: Annotated[
        bool, typer.Option("--all", help="Stop every server, and clean up after crashed ones.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds to wait before the server is killed; default 40."),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Stop a server; only its log is kept."""
    from trtbuild import server
    from trtbuild.cli.output import print_json
    from trtbuild.errors import UsageError
    from trtbuild.progress import counted

    if every and server_id:
        raise UsageError("an ID and --all cannot be combined", fix="give one of them")
    chosen = server.servers() if every else (server.find(server_id),)
    ended: list[Stopped] = [server.stop(one, deadline=timeout) for one in chosen]
    if every:
        server.sweep_dead(ended.append)
    if as_json:
        print_json(ended)
        return
    for one in ended:
        how = "stopped" if one.in_time else "killed"
        swept = f", {counted(len(one.swept), 'shared memory file')} removed" if one.swept else ""
        typer.echo(f"{one.id} {how}{swept}")
    if not ended:
        typer.echo("no server is running")

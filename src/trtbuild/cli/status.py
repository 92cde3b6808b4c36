"""``trtbuild status``: the servers of this machine."""

from __future__ import annotations

import typer

from trtbuild.cli import options

_EPILOG = """
Examples

  trtbuild status

  trtbuild status --json
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status", epilog=_EPILOG)(status)


def status(as_json: options.AsJson = False) -> None:
    """List the servers that trtbuild started, and whether their models answer."""
    from pathlib import Path

    from trtbuild import server
    from trtbuild.cli.output import print_json
    from trtbuild.cli.server_view import as_dict
    from trtbuild.pipeline.condition import condition, last_words

    found = server.servers()
    health = {one.id: condition(one) for one in found}
    if as_json:
        print_json([{**as_dict(one), "health": health[one.id]} for one in found])
        return
    if not found:
        typer.echo("no server is running")
        return
    rows = [("ID", "STATUS", "MODE", "PID", "GRPC", "HTTP", "MODELS", "REPOSITORY")]
    rows += [
        (
            one.id,
            health[one.id],
            "rehearsal" if one.rehearsal else one.mode,
            str(one.pid),
            one.grpc_url,
            one.http_url,
            ",".join(one.models),
            Path(one.repo).name,
        )
        for one in found
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, strict=True)
        typer.echo("  ".join(f"{cell:<{width}}" for cell, width in cells).rstrip())
    for one in found:
        if health[one.id] == "dead":
            lost = ", ".join(server.lost_models(one)) if one.health == "ready" else ""
            what = f"the engine of {lost} has ended" if lost else "the server has ended"
            why = last_words(one)
            typer.echo(f"{one.id}: {what}{f': {why}' if why else ''}")
            typer.echo(f"  trtbuild logs {one.id} shows more; trtbuild stop {one.id} removes it")

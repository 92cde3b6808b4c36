"""``trtbuild gateway``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("gateway")(gateway)


def gateway(
    repo: Annotated[
        Path | None,
        typer.Argument(help="The repository that the server serves: templates, tokenizers, names."),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            help="HTTP address of the server; default: the one that serves the repository here, "
            "else 127.0.0.1:8000."
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Settings: gateway.yaml.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on (127.0.0.1).")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on (9000); 0 takes a free one.")
    ] = None,
) -> None:
    """Serve OpenAI's API in front of a Triton server."""
    from trtbuild.errors import UsageError
    from trtbuild_gateway.access.gate import gate_for
    from trtbuild_gateway.gateway import Gateway
    from trtbuild_gateway.running import listen, serve
    from trtbuild_gateway.settings import read_settings
    from trtbuild_gateway.upstream.catalog import Catalog

    settings = read_settings(file, url=url, host=host, port=port, repository=repo)
    if settings.repository is not None and not settings.repository.is_dir():
        raise UsageError(
            f"{settings.repository} is not a directory",
            fix="name the model repository that the server serves",
        )
    gate = gate_for(settings.access)
    listening = listen(settings.host, settings.port)
    place = f"http://{settings.host}:{listening.getsockname()[1]}/v1"
    typer.echo(f"{place} answers for the models of {settings.url}; Ctrl-C stops it", err=True)
    serve(Gateway(settings, Catalog(settings), gate), listening)

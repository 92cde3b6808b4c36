"""``trtbuild gateway``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import socket

    from trtbuild_gateway.settings import Settings

_EPILOG = """
Examples

  trtbuild gateway model_repository

  trtbuild gateway --url 10.0.0.7:8000 --port 8080

  trtbuild gateway --url 10.0.0.7:8000 --url 10.0.0.8:8000

  trtbuild gateway model_repository --control-port 9001

  trtbuild gateway -f gateway.yaml
"""


_HERE = ("127.0.0.1", "::1", "localhost")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("gateway", epilog=_EPILOG)(gateway)


def gateway(
    repo: Annotated[
        Path | None,
        typer.Argument(help="The repository that the server serves, for templates and tokenizers."),
    ] = None,
    *,
    url: Annotated[
        list[str] | None,
        typer.Option(
            help="HTTP address of a server; repeatable. Default: the one that serves the "
            "repository on this machine, else 127.0.0.1:8000."
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Settings: gateway.yaml.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on (127.0.0.1).")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on (9000); 0 takes a free one.")
    ] = None,
    jit_install: Annotated[
        str | None,
        typer.Option(
            help="Whether a load may create an adapter's environment: allow (default) or never."
        ),
    ] = None,
    control_port: Annotated[
        int | None,
        typer.Option(
            help="Port for loading and unloading models, off by default; 0 takes a free one."
        ),
    ] = None,
) -> None:
    """Serve OpenAI's API in front of a Triton server."""
    from trtbuild.errors import UsageError
    from trtbuild_gateway.access.gate import gate_for
    from trtbuild_gateway.adapters import adapted, workers_of
    from trtbuild_gateway.experiments.running import experiments_for
    from trtbuild_gateway.gateway import Gateway
    from trtbuild_gateway.running import listen, serve
    from trtbuild_gateway.settings_file import read_settings, with_control_port
    from trtbuild_gateway.telemetry.otel import traces_for
    from trtbuild_gateway.upstream.catalog import Catalog

    def read() -> Settings:
        given = {"host": host, "port": port, "repository": repo, "jit_install": jit_install}
        made = read_settings(file, servers=url or None, **given)
        if control_port is not None:
            made = with_control_port(made, control_port)
        if made.repository is not None and not made.repository.is_dir():
            raise UsageError(
                f"{made.repository} is not a directory",
                fix="name the model repository that the server serves",
            )
        return adapted(made)

    settings = read()
    gate = gate_for(settings)
    experiments = experiments_for(settings)
    traces = traces_for(settings.traces)
    control = _control_socket(settings)
    catalog = Catalog(settings, workers_of(settings))
    listening = listen(settings.host, settings.port)
    _announce(settings, listening, control)
    gateway = Gateway(settings, catalog, gate, traces=traces, experiments=experiments)
    serve(gateway, listening, control, read)


def _announce(settings: Settings, listening: socket.socket, control: socket.socket | None) -> None:
    """Say where the gateway answers, and for whom."""
    here = f"http://{settings.host}:{listening.getsockname()[1]}"
    servers = ", ".join(one.url for one in settings.common) or str(settings.registry)
    _say(settings, f"{here}/v1 answers for the models of {servers}; Ctrl-C stops it")
    if settings.page:
        _say(settings, f"{here}/ui/ is a page to try them in a browser")
    if control is not None:
        place = f"http://{settings.control.host}:{control.getsockname()[1]}/v1/model"
        _say(settings, f"{place} controls them")
    if settings.host not in _HERE and not settings.access.names_callers:
        _say(
            settings,
            "anybody who can reach this address can use the models; `trtbuild keys add NAME` makes "
            "a key, `access: {keys: keys.json}` in gateway.yaml asks for it",
            "warning",
        )


def _say(settings: Settings, text: str, level: str = "") -> None:
    """Write to standard error what is said once, in the form of the log."""
    from trtbuild.jsonlog import LogFormat, log_line

    line = f"{level}: {text}" if level else text
    if settings.log_format == LogFormat.JSON:
        line = log_line(level or "info", "trtbuild", text)
    typer.echo(line, err=True)


def _control_socket(settings: Settings) -> socket.socket | None:
    """Return the socket of the control port; None without one."""
    from trtbuild.errors import UsageError
    from trtbuild_gateway.control.gate import gate_of
    from trtbuild_gateway.running import listen

    control = settings.control
    if control.port is None:
        return None
    if control.port and control.port == settings.port:  # requests are told apart by it
        raise UsageError(
            f"the control port is {control.port}, which is that of the models",
            fix="choose another with --control-port; 0 takes a free one",
        )
    gate_of(settings)  # what is wrong with the token is told before anything is served
    return listen(control.host, control.port, option="--control-port")

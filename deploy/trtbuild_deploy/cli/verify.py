"""``trtbuild deploy verify``: what is really deployed, asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trtbuild.cli import options

Repository = Annotated[Path, typer.Argument(help="Model repository with its trtbuild.lock.")]

EXAMPLES = """
Examples

  trtbuild deploy verify model_repository --url 127.0.0.1:8000 --metrics http://127.0.0.1:8002/metrics

  trtbuild deploy verify model_repository --url chat.example.org --gateway https://chat.example.org

  trtbuild deploy verify model_repository --url 127.0.0.1:8000 --during "docker compose restart server"

  trtbuild deploy verify model_repository --url 127.0.0.1:8000 --golden golden.jsonl

  trtbuild deploy verify model_repository --url 127.0.0.1:8000 --traces http://127.0.0.1:3200
"""  # noqa: E501 - commands to copy


def verify(
    repo: Repository,
    *,
    url: Annotated[str, typer.Option(help="HTTP address of the server.")],
    metrics: Annotated[
        list[str] | None, typer.Option(help="Address of a page with metrics; repeatable.")
    ] = None,
    gateway: Annotated[str, typer.Option(help="Address of the gateway.")] = "",
    during: Annotated[
        str, typer.Option(help="Command that restarts the deployment and must cut no open stream.")
    ] = "",
    golden: Annotated[
        Path | None, typer.Option(help="JSONL with prompts and what the answers must contain.")
    ] = None,
    traces: Annotated[
        str, typer.Option(help="Address of Jaeger's or Tempo's API, where a trace must arrive.")
    ] = "",
    as_json: options.AsJson = False,
) -> None:
    """Verify what is really deployed: answers, streams, the metrics of every signal, a restart, a
    trace.

    Exits with 7 when a check fails. The gateway's API key is read from TRTBUILD_API_KEY.
    """
    from trtbuild.cli.output import print_json, progress
    from trtbuild_deploy.jobs import tracing, verifying
    from trtbuild_deploy.jobs.addresses import Addresses
    from trtbuild_deploy.jobs.golden import ask_golden, read_golden
    from trtbuild_deploy.jobs.steps import require_passed

    prompts = read_golden(golden) if golden else ()
    with progress() as bars:
        addresses = Addresses(url, tuple(metrics or ()), gateway, traces)
        steps = verifying.verify(repo, addresses, during=during, progress=bars)
        steps += ask_golden(repo, url, prompts, bars)
        if traces:
            bars.step("waiting for a trace")
            steps += (tracing.trace_arrives(repo, addresses),)
    if as_json:
        print_json(steps)
    else:
        for step in steps:
            typer.echo(f"{'ok  ' if step.ok else 'FAIL'} {step.name}: {step.said}")
            if step.fix:
                typer.echo(f"     fix: {step.fix}")
    require_passed(steps)

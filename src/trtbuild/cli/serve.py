"""``trtbuild serve``: a repository becomes a running server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trtbuild.jsonlog import LogFormat

if TYPE_CHECKING:
    from trtbuild.pipeline.observing import Observing
    from trtbuild.pipeline.serve import ServePlan
    from trtbuild.server import ServerHandle

_EPILOG = """
Examples

  trtbuild serve

  trtbuild serve ./model_repository --mode docker --dry-run

  trtbuild serve --port auto --detach --json

  trtbuild serve oci://ghcr.io/acme/chat:production

  trtbuild serve --mode embedded --env VLLM_CPU_KVCACHE_SPACE=4

  trtbuild serve --observe

  trtbuild serve --rehearse --checkpoint my-llama=./my-llama
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve", epilog=_EPILOG)(serve)


def serve(
    repo: Annotated[
        str, typer.Argument(help="Model repository, or the URL of one that was pushed.")
    ] = "model_repository",
    *,
    mode: Annotated[
        str, typer.Option(help="Where Triton runs: auto, local, embedded or docker.")
    ] = "auto",
    detach: Annotated[
        bool,
        typer.Option("--detach", "-d", help="Return when the server is ready; it keeps running."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the exact command and start nothing.")
    ] = False,
    port: Annotated[
        str, typer.Option(help="First of three ports (default 8000), or auto to pick free ones.")
    ] = "",
    http_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="HTTP port; 0 takes a free one.")
    ] = None,
    grpc_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="gRPC port; 0 takes a free one.")
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Metrics port; 0 takes a free one.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds to wait until the models are loaded.")
    ] = 600,
    gpus: Annotated[
        str, typer.Option(help="GPUs of the container: all, none, or indexes like 0,1.")
    ] = "all",
    shm_size: Annotated[str, typer.Option(help="Shared memory size of the container.")] = "2g",
    launch: Annotated[
        str,
        typer.Option(
            help="How TensorRT-LLM's ranks run: auto, plain, leader, orchestrator or llmapi."
        ),
    ] = "auto",
    image: Annotated[str, typer.Option(help="Container image; default: from the lock file.")] = "",
    env: Annotated[
        list[str] | None,
        typer.Option(help="Environment variable KEY=VALUE for the server; repeatable."),
    ] = None,
    arg: Annotated[
        list[str] | None, typer.Option(help="Extra argument for tritonserver; repeatable.")
    ] = None,
    torch_index: Annotated[
        str, typer.Option(help="Package index for torch, if the runtime is installed now.")
    ] = "",
    auto_complete: Annotated[
        bool,
        typer.Option(
            "--auto-complete-config", help="Let the server complete model configurations."
        ),
    ] = False,
    validate: Annotated[
        bool, typer.Option("--validate/--no-validate", help="Validate the repository first.")
    ] = True,
    rehearse: Annotated[
        bool,
        typer.Option("--rehearse", help="Run stand-ins for TensorRT-LLM on the CPU; needs no GPU."),
    ] = False,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(help="NAME=SOURCE of a model's stand-in; default: from the lock file."),
    ] = None,
    observe: Annotated[
        bool,
        typer.Option("--observe", help="Start Prometheus and a trace collector beside the server."),
    ] = False,
    log_format: Annotated[
        LogFormat,
        typer.Option(
            envvar="TRTBUILD_LOG_FORMAT",
            help="The log on standard error: text, or json as the gateway writes it.",
        ),
    ] = LogFormat.TEXT,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print log and events as JSON lines on standard output.")
    ] = False,
) -> None:
    """Serve a model repository until Ctrl-C (exit code 0), or in the background."""
    from trtbuild.cli.output import log_as, progress
    from trtbuild.pipeline import serve as pipeline
    from trtbuild.pipeline.fetching import local_repository
    from trtbuild.pipeline.ports import choose_ports
    from trtbuild.pipeline.rehearse import parse_checkpoints
    from trtbuild.server import LaunchOptions

    log_as(log_format)
    options = LaunchOptions(
        host=host,
        ports=choose_ports(port, host=host, http=http_port, grpc=grpc_port, metrics=metrics_port),
        gpus=gpus,
        shm_size=shm_size,
        env=parse_env(env or ()),
        image=image,
        auto_complete=auto_complete,
        arguments=tuple(arg or ()),
        torch_index=torch_index,
        launch=launch,
    )
    with progress() as bars:
        plan = pipeline.prepare(
            local_repository(repo, bars),
            mode=mode,
            options=options,
            validate=validate,
            rehearse=rehearse,
            checkpoints=parse_checkpoints(checkpoint or ()),
            progress=bars,
        )
    observing = None
    if observe:
        plan, observing = _observing(plan)
    if dry_run:
        _print_dry_run(plan, as_json=as_json)
    elif detach:
        _background(plan, observing, timeout, as_json=as_json)
    else:
        _foreground(plan, observing, timeout, as_json=as_json)


def parse_env(pairs: tuple[str, ...] | list[str]) -> dict[str, str]:
    """``KEY=VALUE`` words as a mapping; UsageError for anything else."""
    from trtbuild.errors import UsageError

    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.replace("_", "a").isalnum() or key[0].isdigit():
            raise UsageError(f"{pair!r} is not KEY=VALUE", fix="write --env NAME=value")
        found[key] = value
    return found


def _observing(plan: ServePlan) -> tuple[ServePlan, Observing]:
    from trtbuild.cli.output import say_note
    from trtbuild.pipeline.observing import prepare_observing

    plan, observing = prepare_observing(plan)
    for note in observing.notes:
        say_note(note)
    return plan, observing


def _start_observing(handle: ServerHandle, observing: Observing | None) -> dict[str, str]:
    """Where to look, by what is there; empty without --observe."""
    from trtbuild.pipeline.observing import start_observing

    return start_observing(handle, observing) if observing else {}


def _print_dry_run(plan: ServePlan, *, as_json: bool) -> None:
    from trtbuild.cli.output import print_json
    from trtbuild.cli.server_view import rehearsal_as_dict
    from trtbuild.pipeline.serve import command_line

    line = command_line(plan)
    if as_json:
        said = {"mode": plan.choice.mode, "why": plan.choice.why, "command": line}
        print_json({**said, **rehearsal_as_dict(plan)})
        return
    typer.echo(f"{plan.choice.mode}: {plan.choice.why}", err=True)
    typer.echo(line)


def _background(
    plan: ServePlan, observing: Observing | None, timeout: float, *, as_json: bool
) -> None:
    from trtbuild.cli.output import print_json, progress
    from trtbuild.cli.server_view import (
        as_dict,
        rehearsal_as_dict,
        say_started,
        terminate_like_ctrl_c,
    )
    from trtbuild.pipeline.serve import start

    terminate_like_ctrl_c()
    with progress() as bars:
        found = start(plan, timeout=timeout, progress=bars)
    looking = _start_observing(found, observing)
    if as_json:
        more = {"observe": looking} if observing else {}
        print_json({**as_dict(found), "why": plan.choice.why, **rehearsal_as_dict(plan), **more})
        return
    say_started(found, plan, looking, f"trtbuild stop {found.id}")


def _foreground(
    plan: ServePlan, observing: Observing | None, timeout: float, *, as_json: bool
) -> None:
    from trtbuild.cli.server_view import (
        as_dict,
        log_printer,
        print_event,
        rehearsal_as_dict,
        say_started,
        terminate_like_ctrl_c,
    )
    from trtbuild.pipeline.serve import start

    terminate_like_ctrl_c()
    show = log_printer(as_json=as_json)
    _install_first(plan)
    found = start(plan, timeout=timeout, on_line=show)
    looking = _start_observing(found, observing)
    if as_json:
        said = rehearsal_as_dict(plan) | ({"observe": looking} if observing else {})
        print_event("ready", server=as_dict(found), why=plan.choice.why, **said)
    else:
        say_started(found, plan, looking, "Ctrl-C stops it")
    stay(found, as_json=as_json)


def _install_first(plan: ServePlan) -> None:
    """Show the installation with bars, which would tangle with log lines later."""
    if plan.choice.mode == "embedded":
        from trtbuild.cli.output import progress
        from trtbuild.server import needs_vllm, runtime

        vllm = needs_vllm(plan.contents, plan.options)
        with progress() as bars:
            runtime.ensure(bars, vllm=vllm, torch_index=plan.options.torch_index)


def stay(handle: ServerHandle, *, as_json: bool = False, quiet: bool = False) -> None:
    """Show the log until Ctrl-C, which is the wanted end: the server stops, we return."""
    from trtbuild.cli.output import json_logs, say_json
    from trtbuild.cli.server_view import log_printer, print_event
    from trtbuild.pipeline import serve as pipeline

    show = (lambda _: None) if quiet else log_printer(as_json=as_json)
    try:
        pipeline.stay(handle, show)
    except KeyboardInterrupt:
        if as_json:
            print_event("stopped", id=handle.id)
        elif json_logs():
            say_json("stopped", id=handle.id)
        else:
            typer.echo("stopped", err=True)

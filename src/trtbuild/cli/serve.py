"""``trtbuild serve``: a repository becomes a running server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from trtbuild.cli.fields import from_fields, option
from trtbuild.jsonlog import LogFormat

if TYPE_CHECKING:
    from collections.abc import Callable

    from trtbuild.pipeline.observing import Observing
    from trtbuild.pipeline.serve import ServePlan
    from trtbuild.server import LaunchOptions, ServerHandle

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFlags:
    """The flags of ``serve`` and ``up`` that say where and how Triton runs."""

    mode: str = option("auto", "Where Triton runs: auto, local, embedded or docker.")
    port: str = option("", "First of three ports (default 8000), or auto to pick free ones.")
    host: str = option("127.0.0.1", "Address to listen on.")
    timeout: float = option(600, "Seconds to wait until the models are loaded.", min=1)
    gpus: str = option("all", "GPUs of the container: all, none, or indexes like 0,1.")
    env: tuple[str, ...] = option((), "Environment variable KEY=VALUE for the server; repeatable.")
    torch_index: str = option("", "Package index for torch, if the runtime is installed now.")

    def launch(
        self,
        *,
        http: int | None = None,
        grpc: int | None = None,
        metrics: int | None = None,
        **more: Any,
    ) -> LaunchOptions:
        """What starts the server; ``more`` goes into the options.

        Raises:
            UsageError: A port that is none, or a variable that is not ``KEY=VALUE``.
        """
        from trtbuild.pipeline.ports import choose_ports
        from trtbuild.server import LaunchOptions

        return LaunchOptions(
            host=self.host,
            ports=choose_ports(self.port, host=self.host, http=http, grpc=grpc, metrics=metrics),
            gpus=self.gpus,
            env=parse_env(self.env),
            torch_index=self.torch_index,
            **more,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What only ``serve`` takes."""

    repo: str = option(
        "model_repository",
        "Model repository, or the URL of one that was pushed.",
        argument=True,
        show_default=True,
    )
    detach: bool = option(False, "Return when the server is ready; it keeps running.", short="-d")
    dry_run: bool = option(False, "Print the exact command and start nothing.")
    http_port: int | None = option(None, "HTTP port; 0 takes a free one.", min=0, max=65535)
    grpc_port: int | None = option(None, "gRPC port; 0 takes a free one.", min=0, max=65535)
    metrics_port: int | None = option(None, "Metrics port; 0 takes a free one.", min=0, max=65535)
    shm_size: str = option("2g", "Shared memory size of the container.")
    launch: str = option(
        "auto", "How TensorRT-LLM's ranks run: auto, plain, leader, orchestrator or llmapi."
    )
    image: str = option("", "Container image; default: from the lock file.")
    arg: tuple[str, ...] = option((), "Extra argument for tritonserver; repeatable.")
    auto_complete: bool = option(
        False, "Let the server complete model configurations.", flag="--auto-complete-config"
    )
    validate: bool = option(True, "Validate the repository first.", flag="--validate/--no-validate")
    rehearse: bool = option(False, "Run stand-ins for TensorRT-LLM on the CPU; needs no GPU.")
    checkpoint: tuple[str, ...] = option(
        (), "NAME=SOURCE of a model's stand-in; default: from the lock file."
    )
    observe: bool = option(False, "Start Prometheus and a trace collector beside the server.")
    log_format: LogFormat = option(
        LogFormat.TEXT,
        "The log on standard error: text, or json as the gateway writes it.",
        envvar="TRTBUILD_LOG_FORMAT",
    )
    as_json: bool = option(
        False, "Print log and events as JSON lines on standard output.", flag="--json"
    )


@from_fields(ServerFlags, ServeOptions)
def serve(server: ServerFlags, asked: ServeOptions) -> None:
    """Serve a model repository until Ctrl-C (exit code 0), or in the background."""
    from trtbuild.cli.output import log_as, progress
    from trtbuild.pipeline import serve as pipeline
    from trtbuild.pipeline.fetching import local_repository
    from trtbuild.pipeline.rehearse import parse_checkpoints

    log_as(asked.log_format)
    options = server.launch(
        http=asked.http_port,
        grpc=asked.grpc_port,
        metrics=asked.metrics_port,
        shm_size=asked.shm_size,
        image=asked.image,
        auto_complete=asked.auto_complete,
        arguments=asked.arg,
        launch=asked.launch,
    )
    with progress() as bars:
        plan = pipeline.prepare(
            local_repository(asked.repo, bars),
            mode=server.mode,
            options=options,
            validate=asked.validate,
            rehearse=asked.rehearse,
            checkpoints=parse_checkpoints(asked.checkpoint),
            progress=bars,
        )
    observing = None
    if asked.observe:
        plan, observing = _observing(plan)
    if asked.dry_run:
        _print_dry_run(plan, as_json=asked.as_json)
    else:
        start = _background if asked.detach else _foreground
        start(plan, observing, server.timeout, as_json=asked.as_json)


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

    def begin() -> None:
        looking = _start_observing(found, observing)
        if as_json:
            said = rehearsal_as_dict(plan) | ({"observe": looking} if observing else {})
            print_event("ready", server=as_dict(found), why=plan.choice.why, **said)
        else:
            say_started(found, plan, looking, "Ctrl-C stops it")

    stay(found, begin, as_json=as_json)


def _install_first(plan: ServePlan) -> None:
    """Show the installation with bars, which would tangle with log lines later."""
    if plan.choice.mode == "embedded":
        from trtbuild.cli.output import progress
        from trtbuild.server import needs_vllm, runtime

        vllm = needs_vllm(plan.contents, plan.options)
        with progress() as bars:
            runtime.ensure(bars, vllm=vllm, torch_index=plan.options.torch_index)


def stay(
    handle: ServerHandle,
    begin: Callable[[], None] = lambda: None,
    *,
    as_json: bool = False,
    quiet: bool = False,
) -> None:
    """Show the log until Ctrl-C, which is the wanted end: the server stops, we return."""
    from trtbuild.cli.output import json_logs, say_json
    from trtbuild.cli.server_view import log_printer, print_event
    from trtbuild.pipeline import serve as pipeline

    def tell(event: str, words: str) -> None:
        if as_json:
            print_event(event, id=handle.id)
        elif json_logs():
            say_json(event, id=handle.id)
        else:
            typer.echo(words, err=True)

    show = (lambda _: None) if quiet else log_printer(as_json=as_json)
    more = f"open requests may take {handle.stop_seconds:g} s more; Ctrl-C again ends them"
    try:
        pipeline.stay(handle, show, begin, lambda: tell("stopping", f"stopping: {more}"))
    except KeyboardInterrupt:
        tell("stopped", "stopped")

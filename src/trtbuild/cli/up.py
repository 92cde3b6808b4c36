"""``trtbuild up``: from a checkpoint to its first answer in one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trtbuild.cli import options

if TYPE_CHECKING:
    from trtbuild.client import Answer
    from trtbuild.pipeline.up import Up

_EPILOG = """
Examples

  trtbuild up sample:smollm2

  trtbuild up sample:smollm2 -p "The capital of France is" --once

  trtbuild up Qwen/Qwen2.5-0.5B-Instruct --set max_model_len=4096 --port 8100

  trtbuild up sample:smollm2 --gateway
"""
_PROMPT = "The capital of France is"
_DOCUMENTS = ("Paris is the capital of France.", "A server answers requests.")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("up", epilog=_EPILOG)(up)


def up(
    source: options.Source,
    *,
    prompt: Annotated[str, typer.Option("--prompt", "-p", help="Prompt to send.")] = _PROMPT,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens to generate.")] = 64,
    temperature: Annotated[
        float, typer.Option(min=0, help="Sampling temperature; 0 is greedy.")
    ] = 0,
    once: Annotated[bool, typer.Option("--once", help="Stop the server after the answer.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Leave the server running and return.")
    ] = False,
    gateway: Annotated[
        bool,
        typer.Option("--gateway", help="Serve OpenAI's API, too (the package trtbuild-gateway)."),
    ] = False,
    gateway_port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Port of OpenAI's API; 0 takes a free one."),
    ] = 9000,
    name: options.Name = "",
    backend: options.Backend = "auto",
    repo: Annotated[Path, typer.Option(help="Model repository.")] = Path("model_repository"),
    triton: options.Triton = "",
    settings: options.Settings = None,
    dtype: options.Dtype = "",
    trust_remote_code: options.TrustRemoteCode = False,
    allow_pickle: options.AllowPickle = False,
    mode: Annotated[
        str, typer.Option(help="Where Triton runs: auto, local, embedded or docker.")
    ] = "auto",
    port: Annotated[
        str, typer.Option(help="First of three ports (default 8000), or auto to pick free ones.")
    ] = "",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds to wait until the model is loaded.")
    ] = 600,
    gpus: Annotated[
        str, typer.Option(help="GPUs of the container: all, none, or indexes like 0,1.")
    ] = "all",
    env: Annotated[
        list[str] | None,
        typer.Option(help="Environment variable KEY=VALUE for the server; repeatable."),
    ] = None,
    torch_index: Annotated[
        str, typer.Option(help="Package index for torch, if the runtime is installed now.")
    ] = "",
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the server's log.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Convert, validate, serve and query a checkpoint; stop with Ctrl-C."""
    from trtbuild.cli.output import progress
    from trtbuild.cli.serve import parse_env
    from trtbuild.cli.server_view import log_printer, terminate_like_ctrl_c
    from trtbuild.client.values import prompt_text
    from trtbuild.pipeline.ports import choose_ports
    from trtbuild.pipeline.up import up as run
    from trtbuild.recipe import DEFAULT_TRITON, model_from_flags
    from trtbuild.server import LaunchOptions

    text = prompt_text(prompt)
    if gateway:
        gateway_port = _gateway_port(host, gateway_port, once=once)
    recipe = model_from_flags(
        source=source,
        name=name,
        backend=backend,
        dtype=dtype,
        weights="copy",
        settings=settings or (),
        adapters=(),
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
    )
    options = LaunchOptions(
        short_lived=once,
        host=host,
        ports=choose_ports(port, host=host, http=None, grpc=None, metrics=None),
        gpus=gpus,
        env=parse_env(env or ()),
        torch_index=torch_index,
    )
    terminate_like_ctrl_c()
    with progress() as bars:
        running = run(
            recipe,
            repository=repo,
            triton=triton or DEFAULT_TRITON,
            mode=mode,
            options=options,
            timeout=timeout,
            progress=bars,
            on_line=log_printer(as_json=False) if verbose and not as_json else _ignore,
        )
    if not _other_task(running, text, as_json=as_json):
        answer = _answer(running, text, max_tokens, temperature, as_json=as_json)
        _report(running, answer, as_json=as_json)
    front = _start_gateway(running, repo, gateway_port, as_json=as_json) if gateway else ""
    _finish(running, front, once=once, detach=detach, show_log=verbose, as_json=as_json)


def _ignore(_text: str) -> None:
    """For what nobody wants to see."""


def _other_task(running: Up, text: str, *, as_json: bool) -> bool:
    """Ask a model that generates no text and print its answer; False for one that does."""
    import time

    from trtbuild.cli.infer.tasks import facts, report_task
    from trtbuild.cli.server_view import as_dict, print_event
    from trtbuild.pipeline.tasks import TaskOptions, task_request
    from trtbuild.pipeline.up import ask_task

    served = running.plan.contents.served[running.converted.name]
    documents = _DOCUMENTS if served.task == "rerank" else ()
    request = task_request(served, text, TaskOptions(document=documents))
    if request is None:
        return False
    start = time.perf_counter()
    answer = ask_task(running.server, served, request, timeout=300)
    seconds = time.perf_counter() - start
    if as_json:
        print_event("answer", server=as_dict(running.server), **facts(answer), seconds=seconds)
    else:
        report_task(request, answer, seconds, as_json=False)
    return True


def _answer(
    running: Up, prompt: str, max_tokens: int, temperature: float, *, as_json: bool
) -> Answer:
    import sys

    from trtbuild.client import Sampling
    from trtbuild.pipeline.up import ask

    def write(piece: str) -> None:
        # Text of a model may hold what the terminal's encoding does not.
        sys.stdout.buffer.write(piece.encode("utf-8"))
        sys.stdout.buffer.flush()

    if not as_json:
        write(prompt)
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature)
    name = running.converted.name
    show = _ignore if as_json else write
    return ask(running.server, name, prompt, sampling, timeout=300, on_text=show)


def _report(running: Up, answer: Answer, *, as_json: bool) -> None:
    from dataclasses import asdict

    from trtbuild.cli.server_view import as_dict, print_event

    if as_json:
        facts = {**asdict(answer), "tokens_per_second": answer.tokens_per_second}
        print_event("answer", server=as_dict(running.server), **facts)
        return
    typer.echo()
    speed = answer.tokens_per_second
    notes = [f"{answer.output_tokens} tokens"] if answer.output_tokens is not None else []
    notes += [f"{speed:.1f} tokens/s"] if speed is not None else []
    notes += [f"first text after {answer.ttft_ms:.0f} ms"] if answer.ttft_ms is not None else []
    typer.secho(" · ".join(notes), err=True, dim=True)


def _gateway_port(host: str, port: int, *, once: bool) -> int:
    from trtbuild.errors import UsageError
    from trtbuild.pipeline import gateway

    if once:
        raise UsageError(
            "--gateway serves until the server stops, and --once stops it after one answer",
            fix="leave out one of them",
        )
    return gateway.gateway_port(host, port)


def _start_gateway(running: Up, repo: Path, port: int, *, as_json: bool) -> str:
    from dataclasses import asdict

    from trtbuild.cli.server_view import print_event
    from trtbuild.pipeline.gateway import start_gateway

    started = start_gateway(running.server, repo, port)
    if as_json:
        print_event("gateway", **asdict(started))
    return started.url


def _finish(
    running: Up, front: str, *, once: bool, detach: bool, show_log: bool, as_json: bool
) -> None:
    from trtbuild.cli.serve import stay
    from trtbuild.cli.server_view import print_event, say_ready
    from trtbuild.pipeline.up import stop

    if once:
        stop(running.server)
        if as_json:
            print_event("stopped", id=running.server.id)
        return
    if not as_json:
        served = running.plan.contents.served
        say_ready(running.server, running.plan.choice.why, [served[running.converted.name]])
        if front:
            name = running.converted.name
            typer.echo(f"  OpenAI's API: base URL {front}, model {name}", err=True)
        end = f"  trtbuild stop {running.server.id}" if detach else "  Ctrl-C stops it"
        typer.echo(end, err=True)
    if not detach:
        stay(running.server, as_json=as_json, quiet=not show_log)

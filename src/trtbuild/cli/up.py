"""``trtbuild up``: from a checkpoint to its first answer in one command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from trtbuild.cli.fields import from_fields, option
from trtbuild.cli.recipe_file import CheckpointFlags
from trtbuild.cli.serve import ServerFlags

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


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What only ``up`` takes."""

    prompt: str = option(_PROMPT, "Prompt to send.", short="-p")
    max_tokens: int = option(64, "Maximum number of tokens to generate.", min=1)
    temperature: float = option(0, "Sampling temperature; 0 is greedy.", min=0)
    once: bool = option(False, "Stop the server after the answer.")
    detach: bool = option(False, "Leave the server running and return.", short="-d")
    gateway: bool = option(False, "Serve OpenAI's API, too (the package trtbuild-gateway).")
    gateway_port: int = option(9000, "Port of OpenAI's API; 0 takes a free one.", min=0, max=65535)
    repo: Path = option(Path("model_repository"), "Model repository.")
    verbose: bool = option(False, "Show the server's log.")
    as_json: bool = option(False, "Print the answer as JSON.", flag="--json")


@from_fields(CheckpointFlags, UpOptions, ServerFlags)
def up(model: CheckpointFlags, asked: UpOptions, server: ServerFlags) -> None:
    """Convert, validate, serve and query a checkpoint; stop with Ctrl-C."""
    from trtbuild.cli.output import progress
    from trtbuild.cli.server_view import log_printer, terminate_like_ctrl_c
    from trtbuild.client.values import prompt_text
    from trtbuild.pipeline.serve import stopped_on_failure
    from trtbuild.pipeline.up import up as run
    from trtbuild.recipe import DEFAULT_TRITON, model_from_flags

    text, as_json = prompt_text(asked.prompt), asked.as_json
    port = asked.gateway_port
    if asked.gateway:
        port = _gateway_port(server.host, port, once=asked.once)
    recipe = model_from_flags(**model.model())
    options = server.launch(short_lived=asked.once)
    terminate_like_ctrl_c()
    with progress() as bars:
        running = run(
            recipe,
            repository=asked.repo,
            triton=model.triton or DEFAULT_TRITON,
            mode=server.mode,
            options=options,
            timeout=server.timeout,
            progress=bars,
            on_line=log_printer(as_json=False) if asked.verbose and not as_json else _ignore,
        )
    with stopped_on_failure(running.server):
        if not _other_task(running, text, as_json=as_json):
            answer = _answer(running, text, asked)
            _report(running, answer, as_json=as_json)
        front = _start_gateway(running, asked.repo, port, as_json=as_json) if asked.gateway else ""
        _finish(running, front, asked)


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


def _answer(running: Up, prompt: str, asked: UpOptions) -> Answer:
    import sys

    from trtbuild.client import Sampling
    from trtbuild.pipeline.up import ask

    def write(piece: str) -> None:
        # Text of a model may hold what the terminal's encoding does not.
        sys.stdout.buffer.write(piece.encode("utf-8"))
        sys.stdout.buffer.flush()

    if not asked.as_json:
        write(prompt)
    sampling = Sampling(max_tokens=asked.max_tokens, temperature=asked.temperature)
    name = running.converted.name
    show = _ignore if asked.as_json else write
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


def _finish(running: Up, front: str, asked: UpOptions) -> None:
    from trtbuild.cli.serve import stay
    from trtbuild.cli.server_view import print_event, say_ready
    from trtbuild.pipeline.up import stop

    if asked.once:
        stop(running.server)
        if asked.as_json:
            print_event("stopped", id=running.server.id)
        return

    def begin() -> None:
        if asked.as_json:
            return
        served = running.plan.contents.served
        say_ready(running.server, running.plan.choice.why, [served[running.converted.name]])
        if front:
            name = running.converted.name
            typer.echo(f"  OpenAI's API: base URL {front}, model {name}", err=True)
        end = f"  trtbuild stop {running.server.id}" if asked.detach else "  Ctrl-C stops it"
        typer.echo(end, err=True)

    if asked.detach:
        begin()
    else:
        stay(running.server, begin, as_json=asked.as_json, quiet=not asked.verbose)

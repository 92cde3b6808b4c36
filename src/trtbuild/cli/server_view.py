"""What the serving commands share: log lines, how to talk to a server, signals."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from trtbuild.pipeline.serve import ServePlan
    from trtbuild.server import ServerHandle
    from trtbuild.signature import ServedModel

_HELLO = '-p "Hello"'
_COLOURS = {
    "debug": "bright_black",
    "info": "green",
    "warning": "yellow",
    "error": "red",
    "fatal": "bright_red",
}


def log_printer(
    *, as_json: bool, everything: bool = False, err: bool = True
) -> Callable[[str], None]:
    """Prints a server's log lines: for people without noise, as JSON all of them on stdout, and as
    a log in JSON all of them on standard error.

    ``err``: standard error, for a command whose output is something else.
    """
    from trtbuild.cli.output import json_logs
    from trtbuild.server import logs
    from trtbuild.server.log_json import as_json as as_log

    def as_record(text: str) -> None:
        if text.strip():
            typer.echo(as_log(text), err=err)

    def as_object(text: str) -> None:
        line = logs.parse(text)
        if text.strip():
            typer.echo(json.dumps({"event": "log", **asdict(line)}, ensure_ascii=False))

    def for_people(text: str) -> None:
        line = logs.parse(text)
        if line.noise and not everything:
            return
        if not line.level:
            typer.secho(f"  {line.message}", err=err, dim=True)
            return
        level = typer.style(f"{line.level:<7}", fg=_COLOURS[line.level])
        typer.echo(f"{line.time} {level} {line.message}", err=err)

    if as_json:
        return as_object
    return as_record if json_logs() else for_people


def terminate_like_ctrl_c() -> None:
    """Let SIGTERM and SIGHUP end us as Ctrl-C does: the server is stopped before we go.

    Not by SIGINT itself: a shell starts what is in the background with it ignored, and other
    parents with it blocked. Only the first signal counts: a killed parent may send one for each of
    its threads (prctl(2), PR_SET_PDEATHSIG), and the second would interrupt the stop.
    """
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]

    def interrupt(_number: int, _frame: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, interrupt)


def as_dict(handle: ServerHandle) -> dict[str, Any]:
    """A server as ``--json`` prints it."""
    hidden = ("argv", "shm_files", "stop_seconds", "ready", "container", "tool")
    record = {key: value for key, value in asdict(handle).items() if key not in hidden}
    return {**record, "health": handle.health, "container": handle.container}


def say_ready(handle: ServerHandle, why: str, served: Iterable[ServedModel]) -> None:
    """How to talk to the server, on stderr, with an example for the first model that has one."""
    lines = [
        f"  gRPC {handle.grpc_url} · HTTP {handle.http_url} · "
        f"metrics {handle.host}:{handle.metrics_port}/metrics",
    ]
    lines += next(filter(None, (_example(handle, model) for model in served)), [])
    said = f"{', '.join(handle.models)} ready ({handle.mode}: {why})"
    typer.secho(said, err=True, fg="green")
    typer.echo("\n".join(lines), err=True)


def _example(handle: ServerHandle, model: ServedModel) -> list[str]:
    """How to ask a model; nothing for one that no request schema fits."""
    from trtbuild.signature import ServedTask, dialect_of

    dialect = dialect_of(model)
    if dialect is None:
        return []
    asked = {
        ServedTask.RERANK: '-p "Hello" --document "Hello"',
        ServedTask.IMAGE_CLASSIFY: "--image FILE",
        ServedTask.TRANSCRIBE: "--audio FILE",
    }
    if model.task is ServedTask.SCORE and model.input("text_pair"):
        asked[ServedTask.SCORE] = '-p "Hello" --text-pair "Hello"'
    lines = [f"  trtbuild infer {model.name} {asked.get(model.task, _HELLO)}"]
    if model.task.makes_text:
        body = json.dumps(dict.fromkeys(dialect.required[0], "Hello"))
        lines.append(f"  curl -s {handle.http_url}/v2/models/{model.name}/generate -d '{body}'")
    return lines


def rehearsal_as_dict(plan: ServePlan) -> dict[str, Any]:
    """What was rehearsed and what was not, as ``--json`` prints it; empty without a rehearsal."""
    from trtbuild import server

    if not plan.options.rehearsal:
        return {}
    return {
        "rehearsed": list(server.rehearsed(plan.contents)),
        "not_rehearsed": list(server.not_rehearsed(plan.contents)),
    }


def say_rehearsed(plan: ServePlan) -> None:
    """The same for people, on stderr."""
    said = rehearsal_as_dict(plan)
    for heading, colour in (("rehearsed", "green"), ("not_rehearsed", "yellow")):
        for line in said.get(heading, ()):
            typer.secho(f"  {heading.replace('_', ' ')}: {line}", err=True, fg=colour)


def say_started(
    handle: ServerHandle, plan: ServePlan, looking: Mapping[str, str], how_to_stop: str
) -> None:
    """On stderr that a server is ready, and where to look at what watches it."""
    from trtbuild.cli.output import json_logs, say_json

    if json_logs():
        said = rehearsal_as_dict(plan) | ({"observe": looking} if looking else {})
        say_json("ready", server=as_dict(handle), why=plan.choice.why, **said)
        return
    say_ready(handle, plan.choice.why, plan.contents.served.values())
    for what, where in looking.items():
        typer.echo(f"  {what}: {where}", err=True)
    say_rehearsed(plan)
    typer.echo(f"  {how_to_stop}", err=True)


def print_event(event: str, **fields: Any) -> None:
    """One line of JSON on stdout."""
    typer.echo(json.dumps({"event": event, **fields}, ensure_ascii=False))
    sys.stdout.flush()

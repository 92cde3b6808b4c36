"""``trtbuild worker``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from trtbuild.cli.fields import from_fields, option
from trtbuild_batch.worker.options import WorkerOptions

if TYPE_CHECKING:
    from trtbuild_batch.worker.tally import Tally

_EPILOG = """
A message is a request body of OpenAI's API, or a line of an OpenAI batch file.

A message is acknowledged after its answer is published, so no message is lost.

A killed worker repeats at most the messages that it held.

Examples

  trtbuild worker --from redis://127.0.0.1/requests --to redis://127.0.0.1/answers --dead redis://127.0.0.1/dead --target http://127.0.0.1:9000/v1

  trtbuild worker --from 'kafka://broker:9092/requests?group=llm' --to kafka://broker:9092/answers --dead kafka://broker:9092/dead --target http://gateway:9000/v1

  trtbuild worker --from env:QUEUE --to env:ANSWERS --dead env:DEAD --target http://gateway:9000/v1 --model smollm2
"""  # noqa: E501 - a command is one line


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("worker", epilog=_EPILOG)(worker)


@dataclass(frozen=True, slots=True)
class Output:
    """How the end is shown."""

    as_json: bool = option(False, "Print what was done as JSON.", flag="--json")


@from_fields(WorkerOptions, Output)
def worker(options: WorkerOptions, output: Output) -> None:
    """Answer the requests of a queue with a served model until SIGTERM or Ctrl-C."""
    from trtbuild.cli.output import print_json, progress
    from trtbuild_batch.cli import view
    from trtbuild_batch.worker.run import run

    with progress() as shown, view.live(_line) as watch:
        end = run(options, shown, watch)
    if output.as_json:
        print_json(end)
    else:
        typer.echo(_line(end))


def _line(now: Tally) -> str:
    known = [f"{now.answered} answered", f"{now.dead} dead"]
    if now.failed:
        known.append(f"{now.failed} failed calls")
    if now.returned:
        known.append(f"{now.returned} went back to the queue")
    if now.held:
        known.append(f"{now.held} of {now.limit} in work, the oldest for {now.oldest_s:.0f} s")
    if now.waiting is not None:
        known.append(f"{now.waiting} waiting")
    if now.trouble:
        known.append(now.trouble)
    return " · ".join(known)

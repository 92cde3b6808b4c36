"""``trtbuild batch run``."""

from __future__ import annotations

from dataclasses import dataclass

import typer

from trtbuild.cli.fields import from_fields, option
from trtbuild_batch.options import RunOptions, TaskOptions

_EPILOG = """
Every input row appears exactly once in the output. After a crash the same command goes on; at most
the rows in flight are computed twice.

Examples

  trtbuild batch run docs.parquet -o out --target smollm2 --prompt 'Summarize: {{ text }}'

  trtbuild batch run docs.jsonl -o vectors --target http://gpu1:9000/v1 --model bge --embed text --id doc

  trtbuild batch run pairs.jsonl -o scores --target reranker --rerank query --documents passages

  trtbuild batch run requests.jsonl -o out --target http://127.0.0.1:9000/v1

  trtbuild batch run 's3://bucket/rows/*.parquet' -o s3://bucket/out --target llama --prompt @task.j2 --partition 3/16
"""  # noqa: E501 - a command is one line


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run", epilog=_EPILOG)(run)


@dataclass(frozen=True, slots=True)
class Output:
    """How the end is shown."""

    as_json: bool = option(False, "Print the result as JSON.", flag="--json")


@from_fields(RunOptions, TaskOptions, Output)
def run(options: RunOptions, task: TaskOptions, output: Output) -> None:
    """Ask a served model about every row of the input, or resume an interrupted job."""
    from trtbuild.cli.output import print_json, progress
    from trtbuild.errors import ServerError
    from trtbuild_batch.cli import view
    from trtbuild_batch.jobs import run as job
    from trtbuild_batch.places import need_pyarrow

    need_pyarrow()
    with progress() as shown, view.live(view.line) as watch:
        end = job.run(options, task, shown, watch)
    if output.as_json:
        print_json(end)
    else:
        typer.echo(f"{view.line(end)}: {options.out}")
    if end.errors > options.allow_errors * end.rows:
        raise ServerError(
            f"{end.errors} of {end.rows} rows have an error instead of an answer",
            where=options.out,
            fix=f"`trtbuild batch errors {options.out}` lists them, --retry tries them again; "
            "--allow-errors 0.01 accepts one of a hundred",
        )

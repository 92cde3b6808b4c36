"""``trtbuild batch run``."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import typer

from trtbuild.cli.fields import from_fields, option
from trtbuild.errors import UsageError
from trtbuild.recipe import RECIPE_NAME
from trtbuild_batch.cli import refresh as refreshed
from trtbuild_batch.cli.view import Output
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

  trtbuild batch run 's3://bucket/rows/*.parquet' -o s3://bucket/out --target http://gw:9000/v1 --model llama --prompt @task.j2 --engine ray

  trtbuild batch run --job nightly-summaries
"""  # noqa: E501 - a command is one line


_ABOUT = {one.name: one.metadata for one in fields(RunOptions)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Given(RunOptions):
    """The options of the command line, where ``--job`` stands for all."""

    out: str = field(default="", metadata=_ABOUT["out"])
    target: str = field(default="", metadata=_ABOUT["target"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Which job, and what runs it."""

    job: str = option("", "A job of the recipe, with all its options; it may also be a refresh.")
    file: str = option(RECIPE_NAME, "With --job: the recipe.", short="-f")
    engine: str = option("local", "local, or ray: on the cluster that RAY_ADDRESS names.")
    ray_tasks: int | None = option(None, "With ray: tasks; default: one for each node.", min=1)

    def __post_init__(self) -> None:
        if self.engine not in ("local", "ray"):
            raise UsageError(f"unknown --engine {self.engine!r}", fix="use local or ray")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run", epilog=_EPILOG)(run)


@from_fields(Given, TaskOptions, Start, Output)
def run(given: Given, task: TaskOptions, start: Start, output: Output) -> None:
    """Ask a served model about every row of the input, or resume an interrupted job."""
    from pathlib import Path

    from trtbuild_batch.places import need_pyarrow

    _require_one_source(given, task, start)
    need_pyarrow()
    if not start.job:
        show(given, task, start, output)
        return
    from trtbuild_batch.scheduling.declared import read_job

    job = read_job(Path(start.file), start.job)
    if job.refresh is not None:
        if start.engine != "local":
            raise UsageError("a refresh is one process", fix="leave out --engine")
        refreshed.show(replace(job.refresh, new=given.new), output)
    else:
        show(replace(job.run, new=given.new), job.task, start, output)


def show(options: RunOptions, task: TaskOptions, start: Start, output: Output) -> None:
    """Run a job, and print its end."""
    from trtbuild.cli.output import print_json, progress
    from trtbuild.errors import ServerError
    from trtbuild_batch.cli import view
    from trtbuild_batch.jobs import run as job

    options = options.dated()
    with progress() as shown, view.live(view.line) as watch:
        if start.engine == "ray":
            from trtbuild_batch.jobs import on_ray

            end = on_ray.run(options, task, shown, watch, tasks=start.ray_tasks)
        else:
            end = job.run(options, task, shown, watch)
    if output.as_json:
        print_json(end)
    else:
        typer.echo(f"{view.line(end)} · written to {options.out}")
    if end.errors > options.allow_errors * end.rows:
        raise ServerError(
            f"{end.errors} of {end.rows} rows have an error instead of an answer",
            where=options.out,
            fix=f"`trtbuild batch errors {options.out}` lists them, --retry tries them again; "
            "--allow-errors 0.01 accepts one of a hundred",
        )


def _require_one_source(given: Given, task: TaskOptions, start: Start) -> None:
    """Raise UsageError unless all options come from the command line, or from a job, which has all
    but ``--new``: it would start again each time that a scheduler runs it."""
    if not start.job:
        for name in ("out", "target"):
            if not getattr(given, name):
                raise UsageError(f"--{name} is missing", fix=f"give --{name}, or a --job")
        return
    for values, defaults in ((given, Given()), (task, TaskOptions())):
        for one in fields(values):
            if one.name != "new" and getattr(values, one.name) != getattr(defaults, one.name):
                what = f"--{one.name.replace('_', '-')}" if one.name != "inputs" else "an input"
                raise UsageError(
                    f"{what} cannot be combined with --job",
                    fix=f"set it in {start.file}, under jobs: {start.job}",
                )

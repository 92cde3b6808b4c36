"""``trtbuild bench``: how fast a served model is, against what, and what limits it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from trtbuild.cli.fields import from_fields, option
from trtbuild.cli.values import Program, group_with_default
from trtbuild_measure.bench.options import BenchOptions

if TYPE_CHECKING:
    from trtbuild_measure.jobs.bench import Outcome

_EPILOG = """
Examples

  trtbuild bench triton:grpc://127.0.0.1:8001/smollm2 --concurrency 1,4,16

  trtbuild bench triton:grpc://127.0.0.1:8001/smollm2 --baseline fastapi --concurrency 1,4,8,16

  trtbuild bench openai:http://127.0.0.1:9000/v1#mock --requests 50 --tokenizer ./tok --out r.json

  trtbuild bench openai:http://127.0.0.1:9000/v1#m --rate 8 --slo ttft=500ms,itl=50ms --sweep

  trtbuild bench compare before.json after.json

All options: trtbuild bench run --help
"""

_RUN_EPILOG = """
Targets

  triton:grpc://HOST:PORT/MODEL, triton:http://HOST:PORT/MODEL, openai:http://HOST:PORT/v1#MODEL,
  baseline:fastapi, baseline:fastapi-batched; NAME=TARGET names it in the result.

Examples

  trtbuild bench triton:grpc://127.0.0.1:8001/smollm2 --concurrency 1,4,16 --html report.html

  trtbuild bench A=openai:http://127.0.0.1:9000/v1#m B=openai:http://127.0.0.1:9001/v1#m

  trtbuild bench triton:http://127.0.0.1:8000/m --rate 2,4,8 --arrivals constant --duration 60
"""


def register(app: typer.Typer) -> None:
    """Add the group; ``bench TARGET…`` is ``bench run TARGET…``."""
    group = Program(
        cls=group_with_default("run"),
        help="Measure a served model: latencies, throughput, goodput, what limits it.",
        epilog=_EPILOG,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    group.command("run", epilog=_RUN_EPILOG)(run)
    from trtbuild_measure.cli.bench import results

    results.register(group)
    app.add_typer(group, name="bench")


@dataclass(frozen=True, slots=True)
class Output:
    """Where the result goes."""

    out: Path | None = option(None, "Write the result as JSON, updated after each load.")
    min_in_slo: float | None = option(
        None,
        "Fail unless this share of each load's requests meets --slo, such as 0.95.",
        min=0,
        max=1,
    )
    html: Path | None = option(None, "Write an HTML report.")
    export: str = option("", "Print another tool's command instead: aiperf.")
    as_json: bool = option(False, "Print the result as JSON.", flag="--json")


@from_fields(BenchOptions, Output)
def run(options: BenchOptions, output: Output) -> None:
    """Measure one or more targets under one or more loads.

    Ctrl-C or SIGTERM stops it and keeps what was measured; exit code 130 or 143.
    """
    if output.export:
        from trtbuild_measure.jobs.bench.export import commands

        for line in commands(options, output.export):
            typer.echo(line)
        return
    from trtbuild_measure.cli.bench.view import display
    from trtbuild_measure.jobs import bench

    if output.min_in_slo is not None:
        bench.require_objectives(options)
    for flag, path in (("--out", output.out), ("--html", output.html)):
        bench.require_writable(flag, path)
    with display() as (progress, on_tick):
        outcome = bench.run(
            options, progress=progress, on_tick=on_tick, on_result=bench.keeper(output.out)
        )
    _finish(outcome, output)


def _finish(outcome: Outcome, output: Output) -> None:
    from trtbuild.cli.output import print_json
    from trtbuild.endings import exit_code
    from trtbuild.errors import BenchError
    from trtbuild_measure.cli.bench.view import show
    from trtbuild_measure.jobs import bench

    result = outcome.result
    unwritten = bench.write_files(result, output.out, output.html)
    if output.as_json:
        print_json(result)
    else:
        show(result)
        for path in (output.out, output.html):
            if path is not None and path not in unwritten:
                typer.secho(f"wrote {path}", err=True, dim=True)
    if outcome.signal:
        raise typer.Exit(exit_code(outcome.signal))
    if outcome.error is not None:
        raise outcome.error
    if output.min_in_slo is not None:
        bench.require_share(result, output.min_in_slo)
    for path, why in unwritten.items():
        raise BenchError(
            f"the result could not be written: {why}",
            where=str(path),
            fix="the summary is on the screen; --json prints the whole result",
        )

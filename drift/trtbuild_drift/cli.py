"""``trtbuild drift``: record a baseline of texts, and compare later ones with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from trtbuild.cli.fields import from_fields, option
from trtbuild.cli.values import Program
from trtbuild_drift.options import Asking, BaselineOptions, Columns, CompareOptions

if TYPE_CHECKING:
    from trtbuild_drift.comparing import Report, Signal

_HELP = "Compare the texts that a model gets now with those of a baseline, by user segment."
_BASELINE = """
Examples

  trtbuild drift baseline may/*.jsonl -o may.npz --text prompt --segment country

  trtbuild drift baseline may.parquet -o may.npz --text messages --answer output --target minilm

  trtbuild drift baseline vectors/ -o may.npz --text prompt --embedding output
"""
_COMPARE = """
Examples

  trtbuild drift compare today.jsonl -b may.npz

  trtbuild drift compare today.jsonl -b may.npz --windows 3 --examples 0 --json

  trtbuild drift compare today.jsonl -b may.npz --textfile /var/lib/node_exporter/drift.prom
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = Program(no_args_is_help=True, help=_HELP)
    group.command("baseline", epilog=_BASELINE)(baseline)
    group.command("compare", epilog=_COMPARE)(compare)
    app.add_typer(group, name="drift")


@dataclass(frozen=True, slots=True)
class BaselineOutput:
    """How the baseline is described."""

    as_json: bool = option(False, "Print what the baseline has as JSON.", flag="--json")


@dataclass(frozen=True, slots=True)
class CompareOutput:
    """Where the report goes."""

    textfile: Path | None = option(
        None, "Write Prometheus metrics to this file, for node_exporter."
    )
    as_json: bool = option(False, "Print the report as JSON.", flag="--json")


@from_fields(BaselineOptions, Columns, Asking, BaselineOutput)
def baseline(
    options: BaselineOptions, columns: Columns, asking: Asking, output: BaselineOutput
) -> None:
    """Measure texts and write the numbers as a baseline. The file has no texts."""
    from trtbuild.cli.output import print_json, progress
    from trtbuild_drift.comparing import make_baseline

    with progress() as shown:
        found = make_baseline(options, columns, asking, shown)
    left_out = dict(found.window.left_out)
    for name in sorted(found.window.segments.keys() - found.segments.keys()):
        left_out[f"segment {name}: too few texts"] = found.window.seen[name]
    texts = {name: len(segment) for name, segment in found.segments.items()}
    if output.as_json:
        dimension = found.model.dimension
        print_json(
            {"file": options.out, "texts": texts, "dimension": dimension, "left_out": left_out}
        )
        return
    for name, count in texts.items():
        typer.echo(f"{name}: {count} texts of {found.window.seen[name]}")
    _left_out(left_out)
    typer.echo(f"wrote {options.out}")


@from_fields(CompareOptions, Asking, CompareOutput)
def compare(options: CompareOptions, asking: Asking, output: CompareOutput) -> None:
    """Compare a window of texts with a baseline: words, lengths, languages, embeddings, refusals.

    Exits with 8 if as many windows in a row have drifted as --windows says.
    """
    from trtbuild.cli.output import print_json, progress
    from trtbuild.errors import BenchError
    from trtbuild_drift import comparing, exposition

    with progress() as shown:
        report = comparing.compare(options, asking, shown)
    if output.as_json:
        print_json(report.as_dict())
    else:
        _show(report, options.windows)
    if output.textfile is not None:
        exposition.write(output.textfile, report)
    if report.alerts:
        times = "this window" if options.windows == 1 else f"{options.windows} windows in a row"
        raise BenchError(
            f"the texts have drifted in {times}",
            details=tuple(f"{one.segment}: {one.name}" for one in report.alerts),
            fix="look at the new texts above; if the model is good at them, make a new baseline",
        )


def _show(report: Report, needed: int) -> None:
    """A table of the comparisons, the new texts, and what was left out."""
    from rich.markup import escape

    from trtbuild.cli.output import console
    from trtbuild_measure.cli.bench.view import empty_table

    out = console()
    table = empty_table(f"{sum(report.texts.values())} texts against the baseline")
    for name in ("segment", "signal", "baseline", "now", "distance", "p", "verdict"):
        table.add_column(name, overflow="fold")
    for one in report.signals:
        table.add_row(
            escape(one.segment),
            one.name,
            one.old,
            one.new,
            f"{one.distance:.3f}",
            f"{one.adjusted:.3f}",
            _verdict(one, needed),
        )
    out.print(table)
    for found in report.examples:
        if found.texts:
            out.print(
                f"new texts of {found.segment} (separation {found.separation:.2f}):", markup=False
            )
        for text in found.texts:
            out.print(f"  {' '.join(text.split())}", markup=False)
    _left_out(report.left_out)


def _verdict(one: Signal, needed: int) -> str:
    if one.alert:
        return "alert"
    return f"drifted, {one.windows} of {needed}" if one.drifted else "same"


def _left_out(left_out: dict[str, int]) -> None:
    for what, count in left_out.items():
        typer.echo(f"left out: {what}: {count}")

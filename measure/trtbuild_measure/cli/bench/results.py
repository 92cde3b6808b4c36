"""``trtbuild bench compare`` and ``report``: what is done with results of earlier runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

_COMPARE_EPILOG = """
Examples

  trtbuild bench compare main.json branch.json

  trtbuild bench compare main.json branch.json --threshold 10 --json

  trtbuild bench compare bf16.json fp8.json --allow precision
"""

_REPORT_EPILOG = """
Examples

  trtbuild bench report result.json --html report.html

  trtbuild bench report result.json --html report.html --svg pictures
"""


def register(group: typer.Typer) -> None:
    """Add the commands."""
    group.command("compare", epilog=_COMPARE_EPILOG)(compare)
    group.command("report", epilog=_REPORT_EPILOG)(report)


def compare(
    before: Annotated[Path, typer.Argument(help="Result of the earlier run.")],
    after: Annotated[Path, typer.Argument(help="Result of the later run.")],
    *,
    threshold: Annotated[
        float, typer.Option(min=0, help="Loss in percent that counts as a regression.")
    ] = 5.0,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="Compare despite this kind of difference; repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare two results; exit code 8 when the later one is significantly worse.

    Also exits with 8, and prints no figures, if they are not comparable, such as with other
    prompts.
    """
    from trtbuild.cli.output import print_json
    from trtbuild.errors import UsageError
    from trtbuild_measure.bench.parity import KINDS
    from trtbuild_measure.bench.regression import compare_results
    from trtbuild_measure.bench.results import believing, read_result
    from trtbuild_measure.cli.bench.compare_view import show

    for kind in allow or ():
        if kind not in KINDS:
            raise UsageError(
                f"unknown kind of difference: {kind!r}",
                fix=f"use --allow with one of {', '.join(KINDS)}",
            )
    parts = ("environment", "settings")
    results = read_result(before, *parts), read_result(after, *parts)
    with believing(before, after):
        found = compare_results(*results, threshold / 100, allow or ())
    if as_json:
        print_json(found)
    elif not found["refused"]:
        show(found)
    _judge(found, before, after, threshold)


def _judge(comparison: dict[str, Any], before: Path, after: Path, threshold: float) -> None:
    """The error that goes with a comparison, if one does."""
    from trtbuild.errors import BenchError, UsageError

    if refused := comparison["refused"]:
        raise BenchError(
            "these results are not comparable",
            where=f"{after} against {before}",
            details=tuple(one["text"] for one in refused),
            fix="measure both the same way, or accept the difference with "
            + " ".join(f"--allow {kind}" for kind in sorted({one["kind"] for one in refused})),
        )
    if not comparison["rows"]:
        raise UsageError(
            "the two results have no figure in common",
            where=f"{after} against {before}",
            details=tuple(comparison["notes"]),
            fix="measure the same loads of the same targets; write NAME=TARGET to "
            "keep a target's name when its address changes",
        )
    regressions = [row for row in comparison["rows"] if row["verdict"] == "worse"]
    if regressions:
        raise BenchError(
            f"{len(regressions)} of {len(comparison['rows'])} figures are worse by more than "
            f"{threshold:g} %",
            where=f"{after} against {before}",
            details=tuple(
                f"{row['target']}, {row['load']}: {row['metric']} {row['before']:.4g} → "
                f"{row['after']:.4g}"
                for row in regressions
            ),
            fix="measure both again on an idle machine to confirm it",
        )


def report(
    result: Annotated[Path, typer.Argument(help="Result that `bench --out` wrote.")],
    *,
    html: Annotated[Path, typer.Option(help="The report.")] = Path("report.html"),
    svg: Annotated[
        Path | None, typer.Option(help="Also write each chart as an SVG file into this directory.")
    ] = None,
    png: Annotated[
        Path | None, typer.Option(help="Also write PNG files (needs the extra `bench`).")
    ] = None,
) -> None:
    """Write the report of an earlier run."""
    from trtbuild.errors import UsageError
    from trtbuild.files import atomic_write
    from trtbuild_measure.bench.report import charts, pngs, render
    from trtbuild_measure.bench.results import believing, read_result
    from trtbuild_measure.jobs.bench import require_writable

    found = read_result(result, "environment", "settings", "comparison", "warnings", "partial")
    require_writable("--html", html)
    # Everything is drawn before the first file is written.
    with believing(result):
        files = {html: render(found).encode()}
        if svg is not None:
            files |= {svg / f"{name}.svg": text.encode() for name, text in charts(found).items()}
        if png is not None:
            files |= {png / f"{name}.png": data for name, data in pngs(found).items()}
    for path, data in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, data)
        except OSError as error:
            why = error.strerror or str(error)
            raise UsageError(f"cannot write {path}: {why}", fix="name another directory") from None
        typer.echo(str(path))

"""``trtbuild ab``: plan an experiment, and report its result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from trtbuild.cli.fields import from_fields, option
from trtbuild.cli.values import Program
from trtbuild_experiments.options import PlanOptions, ReportOptions

if TYPE_CHECKING:
    from trtbuild_experiments.planning import Needed
    from trtbuild_experiments.reporting import Report

_PLAN = """
Examples

  trtbuild ab plan --base 0.04 --mde 0.1 --users-per-day 5000

  trtbuild ab plan --base 350 --sd 120 --mde 0.05 --share 0.1 --metrics 3

  trtbuild ab plan --data last-week/ --metric click/requests --mde 0.1

  trtbuild ab plan --base 0.04 --mde 0.1 --json
"""
_REPORT = """
Examples

  trtbuild ab report exposures/ --metric latency_ms --metric click/requests

  trtbuild ab report exposures.jsonl feedback.jsonl --metric p95:ttft_ms --weight control=90
  --weight treatment=10

  trtbuild ab report exposures/ --metric click/requests --pre last-week.jsonl --html result.html

  trtbuild ab report exposures/ --metric error/requests --experiment llama --fixed --json
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = Program(
        no_args_is_help=True,
        help="Compare models by what their users do: plan an experiment, then report its result.",
    )
    group.command("plan", epilog=_PLAN)(plan)
    group.command("report", epilog=_REPORT)(report)
    app.add_typer(group, name="ab")


@dataclass(frozen=True, slots=True)
class PlanOutput:
    """How the plan is printed."""

    as_json: bool = option(False, "Print the plan as JSON.", flag="--json")


@dataclass(frozen=True, slots=True)
class ReportOutput:
    """Where the report goes."""

    html: Path | None = option(None, "Write the report as a page with charts.")
    as_json: bool = option(False, "Print the report as JSON.", flag="--json")


@from_fields(PlanOptions, PlanOutput)
def plan(options: PlanOptions, output: PlanOutput) -> None:
    """Compute how many users an experiment needs, and how many days."""
    from trtbuild.cli.output import print_json, progress
    from trtbuild_experiments.planning import plan as stage

    with progress() as shown:
        found = stage(options, shown)
    if output.as_json:
        print_json(found)
        return
    typer.echo(
        f"to find a change of {found.change:.4g} in {found.base:.4g}, "
        f"with a deviation between users of {found.sd:.4g}:"
    )
    typer.echo(f"  looking at any time:    {_needed(found.always_valid)}")
    typer.echo(f"  one look at the end:    {_needed(found.fixed)}")
    typer.echo(f"report with --expected-users {found.always_valid.users}; run whole weeks")


def _needed(needed: Needed) -> str:
    days = "" if needed.days is None else f", {needed.days} days"
    return f"{needed.users} users, {needed.treatment} of them with the treatment{days}"


@from_fields(ReportOptions, ReportOutput)
def report(options: ReportOptions, output: ReportOutput) -> None:
    """Report an experiment: check how users were split, then compare each metric.

    Exits with 8, and compares nothing, if the split does not match the weights.
    """
    from trtbuild.cli.output import print_json, progress
    from trtbuild.errors import BenchError
    from trtbuild_experiments import reporting
    from trtbuild_measure.jobs.bench import require_writable

    require_writable("--html", output.html)
    with progress() as shown:
        found = reporting.report(options, shown)
    if output.as_json:
        print_json(found.as_dict())
    else:
        _show(found)
    if output.html is not None:
        from trtbuild_experiments.page import write_page

        write_page(output.html, found)
    if found.mismatch:
        raise BenchError(
            "users were not divided by the weights "
            f"(p = {found.sample_ratio_p:.2g}), so nothing is compared",
            where=", ".join(f"{name}: {count} users" for name, count in found.users.items()),
            fix="look for what loses users or records of one variant: errors, restarts, filters, "
            "changed weights; if the weights differ, give them with --weight",
        )


def _show(found: Report) -> None:
    """Variants, a table of the comparisons, and what was left out."""
    from rich.markup import escape

    from trtbuild.cli.output import console
    from trtbuild_measure.cli.bench.view import empty_table

    out = console()
    users = ", ".join(f"{count} {name}" for name, count in found.users.items())
    chance = f"sample ratio p = {found.sample_ratio_p:.3g}"
    out.print(f"{found.experiment}: users: {users}; {chance}", markup=False)
    if found.comparisons:
        table = empty_table(f"against {found.control} (95 %, {found.intervals})")
        for name in (
            "metric",
            "variant",
            escape(found.control),
            "difference",
            "relative",
            "p",
            "verdict",
        ):
            table.add_column(name, overflow="fold")
        for one in found.comparisons:
            low, high = one.interval
            change = "–" if one.relative is None else f"{one.relative:+.1%}"
            table.add_row(
                one.metric,
                escape(one.variant),
                f"{one.control:.4g}",
                f"{one.difference:+.4g} ({low:+.4g} to {high:+.4g})",
                change,
                f"{one.adjusted:.3g}",
                one.verdict,
            )
        out.print(table)
    for one in found.comparisons:
        if one.variance_left is not None:
            name = f"{one.metric} of {one.variant}"
            out.print(
                f"values from before left {one.variance_left:.0%} of the variance: {name}",
                markup=False,
            )
    for what, count in found.left_out.items():
        out.print(f"left out: {what}: {count}")

"""``trtbuild cost``: what a million tokens cost on GPUs of one's own, and from an API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from trtbuild.cli import options
from trtbuild.cli.fields import from_fields
from trtbuild_measure.cost.options import CostOptions

if TYPE_CHECKING:
    from rich.table import Table

    from trtbuild_measure.jobs.costing import CostReport

_EPILOG = """
Examples

  trtbuild cost meta-llama/Llama-3.1-8B-Instruct --gpu l40s

  trtbuild cost --result bench.json --gpu h100 --gpu-price 2.5 --utilization 0.3

  trtbuild cost --throughput 2600 --gpus 2 --gpu h200 --api gpt-5-mini --api 0.13/0.38

  trtbuild cost ./llama-70b --gpu h100 --dtype fp8 --input-tokens 2000 --output-tokens 200 --json
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("cost", epilog=_EPILOG)(cost)


@dataclass(frozen=True, slots=True)
class Output:
    """How the report is printed."""

    as_json: options.AsJson = False


@from_fields(CostOptions, Output)
def cost(asked: CostOptions, output: Output) -> None:
    """Price a million tokens on your own GPUs against an API's, with the break-even volume."""
    from trtbuild.cli.output import print_json, progress
    from trtbuild_measure.jobs.costing import report

    with progress() as bars:
        found = report(asked, progress=bars)
    if output.as_json:
        print_json(found)
    else:
        _show(found)


def _show(report: CostReport) -> None:
    from rich.markup import escape

    from trtbuild.cli.output import console

    out = console()
    made, price, own = report.deployment, report.gpu_price, report.own
    out.print(
        f"[bold]${own.per_million_output:.2f}[/] a million output tokens, "
        f"${own.per_thousand_requests:.3f} a thousand requests of {report.mix.input} + "
        f"{report.mix.output} tokens"
    )
    out.print(
        f"{made.gpus} x {report.gpu} at ${price.usd_per_hour:g}/h ({price.offer}, "
        f"{price.provenance})"
    )
    out.print(
        f"{made.output_tokens_per_s:,.0f} output tokens/s ({made.source}), "
        f"{report.utilization:.0%} used: ${made.usd_per_month:,.0f} a month, fixed\n"
    )
    for text in report.notes:
        out.print(f"[yellow]![/] {escape(text)}")
    out.print(_apis(report))
    out.print(_sensitivity(report))
    if report.layouts:
        out.print(_layouts(report))


def _table(title: str, first: str, *rest: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    table.add_column(first, no_wrap=True)
    for name in rest:
        table.add_column(name, justify="right")
    return table


def _apis(report: CostReport) -> Table:
    from trtbuild.cli.output import human_count

    table = _table(
        "against APIs",
        "API",
        "$/1000 req",
        "own / API",
        "even at req/month",
        "of capacity",
        "dated",
    )
    for one in report.comparisons:
        share = one.breakeven_utilization
        table.add_row(
            one.api.name,
            f"{one.per_thousand_requests:.3f}",
            "–" if one.ratio is None else f"x{one.ratio:.2f}",
            "–" if one.breakeven_requests is None else human_count(one.breakeven_requests),
            "–" if share is None else f"{share:.0%}" if share <= 1 else "never",
            one.api.date + ("*" if one.api.secondary else ""),
        )
    if any(one.api.secondary for one in report.comparisons):
        table.caption = "* from a third-party page; --json lists every source"
        table.caption_justify = "left"
    return table


def _sensitivity(report: CostReport) -> Table:
    table = _table("if one thing changes", "", "$/M output", "$/1000 req")
    for name, price in report.sensitivity:
        table.add_row(name, f"{price.per_million_output:.2f}", f"{price.per_thousand_requests:.3f}")
    return table


def _layouts(report: CostReport) -> Table:
    table = _table(
        "predicted, by the roofline",
        "layout",
        "GPUs",
        "sequences",
        "tok/s",
        "TTFT ms",
        "$/M output",
    )
    for one, price in report.layouts:
        name = f"TP {one.tensor} PP {one.pipeline}"
        if price is None:
            table.add_row(name, str(one.gpus), "does not fit", "", "", "")
            continue
        table.add_row(
            name,
            str(one.gpus),
            str(one.sequences),
            f"{one.output_tokens_per_s:,.0f}",
            f"{one.ttft_ms:.0f}",
            f"{price:.2f}",
        )
    return table

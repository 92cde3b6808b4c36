"""How a comparison of two results looks on a terminal."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from trtbuild_measure.cli.bench.view import empty_table

_COLOURS = {"worse": "red", "better": "green", "unclear": "dim", "same": "dim"}


def show(comparison: dict[str, Any]) -> None:
    """A table for each load of each target, one row a figure."""
    from rich.markup import escape

    from trtbuild.cli.output import console

    out = console()
    for (target, load), rows in groupby(
        comparison["rows"], lambda row: (row["target"], row["load"])
    ):
        out.print(_table(f"{target}, {load}", list(rows)))
    for text in comparison["notes"]:
        out.print(f"[yellow]![/] {escape(text)}")


def _table(title: str, rows: list[dict[str, Any]]) -> Any:
    """Its figures are whole on any screen; what is too long for one goes on in the next line."""
    table = empty_table(title)
    table.add_column("figure", overflow="fold")
    for name in ("before", "after", "ratio", "95 %"):
        table.add_column(name, justify="right", overflow="fold")
    table.add_column("", overflow="fold")
    for row in rows:
        low_high = row["interval"]
        colour = _COLOURS[row["verdict"]]
        table.add_row(
            row["metric"],
            f"{row['before']:.4g}",
            f"{row['after']:.4g}",
            "" if row["ratio"] is None else f"{row['ratio']:.3f}",
            f"{low_high[0]:.3f}–{low_high[1]:.3f}" if low_high else "",
            f"[{colour}]{row['verdict']}[/]",
        )
    return table

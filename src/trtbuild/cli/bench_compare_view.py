"""How a comparison of two results looks on a terminal."""

from __future__ import annotations

from typing import Any

_COLOURS = {"worse": "red", "better": "green", "unclear": "dim", "same": "dim"}


def show(found: dict[str, Any]) -> None:
    """One row a figure."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from trtbuild.cli.output import console

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("target", "load", "figure"):
        table.add_column(title)
    for title in ("before", "after", "ratio", "95 %"):
        table.add_column(title, justify="right")
    table.add_column("")
    for row in found["rows"]:
        low_high = row["interval"]
        colour = _COLOURS[row["verdict"]]
        table.add_row(
            escape(row["target"]),
            row["load"],
            row["metric"],
            f"{row['before']:.4g}",
            f"{row['after']:.4g}",
            "" if row["ratio"] is None else f"{row['ratio']:.3f}",
            f"{low_high[0]:.3f} – {low_high[1]:.3f}" if low_high else "",
            f"[{colour}]{row['verdict']}[/]",
        )
    out = console()
    out.print(table)
    for text in found["notes"]:
        out.print(f"[yellow]![/] {escape(text)}")

"""``trtbuild eval bias``: whether an attribute that should not matter changes answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from trtbuild.cli.fields import from_fields, option
from trtbuild_measure.answers.options import BiasOptions

if TYPE_CHECKING:
    from trtbuild_measure.jobs.bias import Bias

_EPILOG = """
Examples

  trtbuild eval bias applicants.jsonl --target smollm2 --favourable '^yes'

  trtbuild eval bias reviews.jsonl --target smollm2 --number --system 'Answer with a number, 1 to 10.'

  trtbuild eval bias applicants.jsonl --target smollm2 --favourable '^yes' --max-effect 0.05 --json
"""  # noqa: E501 - a command is one line


@dataclass(frozen=True, slots=True)
class Output:
    """How the result is printed."""

    as_json: bool = option(False, "Print the result as JSON.", flag="--json")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bias", epilog=_EPILOG)(bias)


@from_fields(BiasOptions, Output)
def bias(options: BiasOptions, output: Output) -> None:
    """Measure whether answers change with an attribute: pairs of texts that differ in it only.

    Exits with 9 if --max-effect is not met.
    """
    from trtbuild.cli.output import print_json, progress
    from trtbuild_measure.jobs import bias as stage

    with progress() as shown:
        found = stage.bias(options, shown)
    if output.as_json:
        print_json(found)
    else:
        _show(found)
    if options.max_effect is not None:
        stage.require_small(found, options.max_effect)


def _show(found: Bias) -> None:
    from rich.markup import escape

    from trtbuild.cli.output import console
    from trtbuild_measure.cli.bench.view import empty_table

    out = console()
    table = empty_table("outcome of b minus outcome of a")
    for name in ("group", "pairs", "a", "b", "effect (95 %)", "p", "higher", "lower"):
        table.add_column(name, overflow="fold")
    for one in found.effects:
        effect = f"{one.effect:+.3f}"
        if one.interval is not None:
            effect += " ({:+.3f} to {:+.3f})".format(*one.interval)
        table.add_row(
            escape(one.group or "all"),
            str(one.pairs),
            f"{one.a:.3f}",
            f"{one.b:.3f}",
            effect,
            f"{one.p:.3g}",
            str(one.higher),
            str(one.lower),
        )
    out.print(table)
    if found.without_outcome:
        out.print(f"left out: {found.without_outcome} pairs with an answer without a number")

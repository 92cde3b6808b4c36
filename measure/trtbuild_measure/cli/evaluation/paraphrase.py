"""``trtbuild eval paraphrase``: whether answers depend on the form of the question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from trtbuild.cli.fields import from_fields, option
from trtbuild_measure.answers.options import ParaphraseOptions

if TYPE_CHECKING:
    from trtbuild_measure.answers.agreement import Said
    from trtbuild_measure.jobs.paraphrase import Paraphrased

_EPILOG = """
Examples

  trtbuild eval paraphrase questions.jsonl --target smollm2

  trtbuild eval paraphrase questions.jsonl --target smollm2 --variants own.jsonl --min-agreement 0.9

  trtbuild eval paraphrase sums.jsonl --target smollm2 --answer '(\\d+)\\D*$' --json
"""
_SHOWN = 10
_LETTERS = 60


@dataclass(frozen=True, slots=True)
class Output:
    """How the result is printed."""

    as_json: bool = option(False, "Print the result as JSON.", flag="--json")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("paraphrase", epilog=_EPILOG)(paraphrase)


@from_fields(ParaphraseOptions, Output)
def paraphrase(options: ParaphraseOptions, output: Output) -> None:
    """Measure how often answers stay the same when a question is written differently.

    Other case, other punctuation, typos, options in another order, and variants of your own.
    Exits with 9 if --min-agreement is not met.
    """
    from trtbuild.cli.output import print_json, progress
    from trtbuild_measure.jobs import paraphrase as stage

    with progress() as shown:
        found = stage.paraphrase(options, shown)
    if output.as_json:
        print_json(found)
    else:
        _show(found)
    if options.min_agreement is not None:
        stage.require_agreement(found, options.min_agreement)


def _show(found: Paraphrased) -> None:
    """A table of the rules, and the answers that differ."""
    from rich.markup import escape

    from trtbuild.cli.output import console
    from trtbuild_measure.answers.agreement import agree
    from trtbuild_measure.cli.bench.view import empty_table

    out = console()
    table = empty_table(f"{found.questions} questions: answers that stay the same")
    for name in ("variant", "agree", "share (95 %)"):
        table.add_column(name, overflow="fold")
    for row in found.agreements:
        low, high = row.interval
        name = "all of a question" if row.rule == "all" else row.rule
        table.add_row(
            name, f"{row.agreed} of {row.of}", f"{row.share:.3f} ({low:.3f} to {high:.3f})"
        )
    out.print(table)
    first: dict[str, Said] = {}
    for one in found.answers:
        first.setdefault(one.id, one)
    differing = [one for one in found.answers if not agree(first[one.id].counts_as, one.counts_as)]
    if differing:
        table = empty_table("answers that differ")
        for name in ("question", "variant", "answer", "was"):
            table.add_column(name, overflow="fold")
        for one in differing[:_SHOWN]:
            shown = (one.answer.strip()[:_LETTERS], first[one.id].answer.strip()[:_LETTERS])
            table.add_row(*map(escape, (one.id, one.rule, *shown)))
        out.print(table)
        if len(differing) > _SHOWN:
            out.print(f"and {len(differing) - _SHOWN} more; --json has all")

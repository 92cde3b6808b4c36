"""``trtbuild eval golden``: record a model's answers, and check later ones against them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from trtbuild.cli.fields import from_fields, option
from trtbuild.cli.values import Program
from trtbuild_measure.answers.options import GoldenCheckOptions, GoldenRecordOptions

if TYPE_CHECKING:
    from trtbuild_measure.jobs.golden import Check

_RECORD = """
Examples

  trtbuild eval golden record prompts.jsonl --target smollm2 -o golden.jsonl

  trtbuild eval golden record prompts.jsonl --target http://gpu1:9000/v1 --model llama -o golden.jsonl
"""  # noqa: E501 - a command is one line
_CHECK = """
Examples

  trtbuild eval golden check golden.jsonl --target smollm2

  trtbuild eval golden check golden.jsonl --target http://gpu1:9000/v1 --model llama --junit golden.xml

  trtbuild eval golden check golden.jsonl --target triton:grpc://gpu1:8001/llama --margin 0.3 --json
"""  # noqa: E501
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Output:
    """How the result is printed."""

    as_json: bool = option(False, "Print the result as JSON.", flag="--json")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = Program(
        no_args_is_help=True,
        help="Record a model's greedy answers token by token, and check later ones against them.",
    )
    group.command("record", epilog=_RECORD)(record)
    group.command("check", epilog=_CHECK)(check)
    app.add_typer(group, name="golden")


@from_fields(GoldenRecordOptions, Output)
def record(options: GoldenRecordOptions, output: Output) -> None:
    """Record the answers to prompts: tokens, and how sure the model was of each.

    Asks every prompt alone and again among others; the difference is the noise.
    """
    from trtbuild.cli.output import print_json, progress
    from trtbuild_measure.answers.golden import wide_margin
    from trtbuild_measure.jobs import golden

    with progress() as shown:
        made = golden.record(options, shown)
    tokens = sum(len(one.answer.steps) for one in made.answers)
    wide = wide_margin(made.noise)
    if output.as_json:
        counts = {"answers": len(made.answers), "tokens": tokens}
        print_json({"out": options.out, **counts, "noise": made.noise, "wide_margin": wide})
        return
    typer.echo(
        f"{options.out}: {len(made.answers)} answers, {tokens} tokens; margins change by up to "
        f"{made.noise:.2g} in other batches, so another token is a regression from {wide:.2g}"
    )


@from_fields(GoldenCheckOptions, Output)
def check(options: GoldenCheckOptions, output: Output) -> None:
    """Check a model's answers against recorded ones.

    Exits with 8 if a token changed at a wide margin, or if a prompt has other tokens now.
    """
    from trtbuild.cli.output import print_json, progress
    from trtbuild_measure.jobs import golden

    with progress() as shown:
        found = golden.check(options, shown)
    if output.as_json:
        print_json(found)
    else:
        _show(found)
    if options.junit is not None:
        golden.write_junit(options.junit, found)
    golden.require_passed(found)


def _show(found: Check) -> None:
    """A table of the answers that differ, and what is the same."""
    from rich.markup import escape

    from trtbuild.cli.output import console
    from trtbuild_measure.answers.golden import Outcome
    from trtbuild_measure.cli.bench.view import empty_table

    out = console()
    differing = [one for one in found.verdicts if one.outcome is not Outcome.SAME]
    differing.sort(key=lambda one: (not one.failed, -(one.margin or 0.0)))
    if differing:
        table = empty_table(f"first token that differs, wide from {found.wide:.3g} nats")
        for name in ("prompt", "verdict", "token", "recorded", "now", "margin"):
            table.add_column(name, overflow="fold")
        for one in differing[:_SHOWN]:
            verdict = "prompt changed" if one.outcome is Outcome.PROMPT else one.outcome.value
            at, margin = (
                "" if value is None else f"{value:{form}}"
                for value, form in ((one.at, "d"), (one.margin, ".3f"))
            )
            cells = [one.id, verdict, at, one.recorded or "the end", one.found or "the end", margin]
            table.add_row(*map(escape, cells))
        out.print(table)
        if len(differing) > _SHOWN:
            out.print(f"and {len(differing) - _SHOWN} more; --json has all")
    counts = found.counts
    out.print(
        f"{len(found.verdicts)} answers: {counts['same']} the same, {counts['noise']} with noise, "
        f"{counts['regression']} regressions, {counts['prompt']} changed prompts; margins changed "
        f"by up to {found.shift:.2g} (recording: {found.noise:.2g})"
    )

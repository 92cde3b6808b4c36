"""``trtbuild eval lm``: academic benchmarks with lm-evaluation-harness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from trtbuild.cli.fields import from_fields, option
from trtbuild_measure.answers.options import LmOptions

if TYPE_CHECKING:
    from trtbuild_measure.jobs.lm import Measured

_EPILOG = """
The harness is a separate program: pip install 'lm-eval\\[api]'

Examples

  trtbuild eval lm hellaswag arc_easy --target http://127.0.0.1:9000/v1 --model llama --limit 200

  trtbuild eval lm gsm8k --target openai:http://127.0.0.1:9000/v1#llama --few-shot 5 --out results

  trtbuild eval lm my_task --include-path tasks --target openai:http://127.0.0.1:9000/v1#llama --json
"""  # noqa: E501 - a command is one line


@dataclass(frozen=True, slots=True)
class Output:
    """How the result is printed."""

    as_json: bool = option(False, "Print the result as JSON.", flag="--json")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("lm", epilog=_EPILOG)(lm)


@from_fields(LmOptions, Output)
def lm(options: LmOptions, output: Output) -> None:
    """Run tasks of lm-evaluation-harness against an endpoint with OpenAI's API.

    Tasks that compare probabilities are asked as completions, if the endpoint's are exact; others
    as chats.
    """
    from trtbuild.cli.output import print_json, progress
    from trtbuild_measure.jobs import lm as stage

    with progress() as shown:
        found = stage.lm(options, shown)
    if output.as_json:
        print_json(found)
    else:
        _show(found)


def _show(found: Measured) -> None:
    from rich.markup import escape

    from trtbuild.cli.output import console
    from trtbuild_measure.cli.bench.view import empty_table

    table = empty_table(f"asked as {found.api}")
    for name in ("task", "metric", "value", "standard error"):
        table.add_column(name, overflow="fold")
    for task, metrics in found.results.items():
        for metric, value in metrics.items():
            name, _, kind = metric.partition(",")
            if not isinstance(value, int | float) or not kind or name.endswith("_stderr"):
                continue
            error = metrics.get(f"{name}_stderr,{kind}")
            shown = f"{error:.4f}" if isinstance(error, int | float) else ""
            label = name if kind == "none" else f"{name} ({kind})"
            table.add_row(escape(task), escape(label), f"{value:.4f}", shown)
    console().print(table)

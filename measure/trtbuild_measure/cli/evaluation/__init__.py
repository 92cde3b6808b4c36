"""``trtbuild eval``: how well a model ranks, and whether its answers are what they should be."""

from __future__ import annotations

import typer

from trtbuild.cli.values import Program, group_with_default
from trtbuild_measure.cli.evaluation import bias, golden, lm, paraphrase, ranking

_EPILOG = """
Examples

  trtbuild eval minilm minilm-int8 --max-drop ndcg@10=0.02 --out result.json

  trtbuild eval golden record prompts.jsonl --target smollm2 -o golden.jsonl

  trtbuild eval golden check golden.jsonl --target smollm2 --junit golden.xml

  trtbuild eval paraphrase questions.jsonl --target smollm2 --min-agreement 0.9

  trtbuild eval bias applicants.jsonl --target smollm2 --favourable '^yes' --max-effect 0.05

  trtbuild eval lm gsm8k --target openai:http://127.0.0.1:9000/v1#llama --limit 200

All options: trtbuild eval rank --help, trtbuild eval golden check --help
"""


def register(app: typer.Typer) -> None:
    """Add the group; ``eval TARGET…`` is ``eval rank TARGET…``."""
    group = Program(
        cls=group_with_default("rank"),
        help="Measure how good a served model is: its rankings, and its answers against recorded "
        "ones.",
        epilog=_EPILOG,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    ranking.register(group)
    golden.register(group)
    paraphrase.register(group)
    bias.register(group)
    lm.register(group)
    app.add_typer(group, name="eval")

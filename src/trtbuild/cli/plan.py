"""``trtbuild plan``: which builder, why no other, what it will do, and whether it fits."""

from __future__ import annotations

from dataclasses import dataclass

import typer

from trtbuild.cli import options
from trtbuild.cli.fields import from_fields, option
from trtbuild.cli.recipe_file import ModelFlags, asked_recipe

_EPILOG = """
Examples

  trtbuild plan Qwen/Qwen2.5-7B-Instruct --gpu l4

  trtbuild plan ./llama-70b --gpu h100 --gpus 8 --concurrency 64 --length 8192

  trtbuild plan sample:smollm2 --set max_model_len=2048 --json

  trtbuild plan -f trtbuild.yaml --gpu auto
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan", epilog=_EPILOG)(plan)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What to plan for."""

    gpu: str = option("", "GPU to plan for: h100, h200, b200, a100-80, l40s, l4, t4, …, or auto.")
    gpus: int | None = option(None, "Number of GPUs; default 1.")
    concurrency: int | None = option(None, "Concurrent sequences; default 16.")
    length: int | None = option(None, "Tokens of each sequence, prompt and answer; default 4096.")
    as_json: options.AsJson = False


@from_fields(ModelFlags, PlanOptions)
def plan(model: ModelFlags, asked: PlanOptions) -> None:
    """Show which builder fits and why, the steps, and whether the model fits the GPU."""
    from trtbuild.cli.output import print_json, progress
    from trtbuild.cli.plan_view import print_plan
    from trtbuild.pipeline.planning import Sizing, plan_model

    recipe = asked_recipe(model)
    target = Sizing(asked.gpu, asked.gpus, asked.concurrency, asked.length)
    with progress() as bars:
        planned = [
            plan_model(one, triton=recipe.triton, target=target, progress=bars)
            for one in recipe.models
        ]
    if asked.as_json:
        plans = [item.plan for item in planned]
        print_json(plans if model.file else plans[0])
        return
    for item in planned:
        print_plan(item)

"""``trtbuild plan``: which builder, why no other, what it will do, and whether it fits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trtbuild.cli import options

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


def plan(
    source: options.Source = "",
    *,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Plan every model of this recipe.")
    ] = None,
    gpu: Annotated[
        str,
        typer.Option(help="GPU to plan for: h100, h200, b200, a100-80, l40s, l4, t4, …, or auto."),
    ] = "",
    gpus: Annotated[int | None, typer.Option(help="Number of GPUs; default 1.")] = None,
    concurrency: Annotated[
        int | None, typer.Option(help="Concurrent sequences; default 16.")
    ] = None,
    length: Annotated[
        int | None, typer.Option(help="Tokens of each sequence, prompt and answer; default 4096.")
    ] = None,
    name: options.Name = "",
    backend: options.Backend = "auto",
    triton: options.Triton = "",
    dtype: options.Dtype = "",
    quantize: options.Quantize = "",
    accelerator: options.Accelerator = "",
    weights: options.Weights = "copy",
    settings: options.Settings = None,
    adapter: options.Adapters = None,
    engine: options.EngineDir = "",
    trust_remote_code: options.TrustRemoteCode = False,
    allow_pickle: options.AllowPickle = False,
    as_json: options.AsJson = False,
) -> None:
    """Show which builder fits and why, the steps, and whether the model fits the GPU."""
    from trtbuild.cli.output import print_json, progress
    from trtbuild.cli.plan_view import print_plan
    from trtbuild.cli.recipe_file import asked_recipe
    from trtbuild.pipeline.planning import Sizing, plan_model

    recipe = asked_recipe(
        file,
        triton,
        source=source,
        name=name,
        settings=settings or (),
        dtype=dtype,
        adapters=adapter or (),
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
        backend=backend,
        quantize=quantize,
        accelerator=accelerator,
        weights=weights,
        engine_dir=engine,
    )
    target = Sizing(gpu, gpus, concurrency, length)
    with progress() as bars:
        planned = [
            plan_model(model, triton=recipe.triton, target=target, progress=bars)
            for model in recipe.models
        ]
    if as_json:
        plans = [item.plan for item in planned]
        print_json(plans if file else plans[0])
        return
    for item in planned:
        print_plan(item)

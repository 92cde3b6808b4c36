"""``trtbuild convert``: a checkpoint becomes a model of a repository."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trtbuild.cli import options

if TYPE_CHECKING:
    from trtbuild.recipe import Recipe

_EPILOG = """
Examples

  trtbuild convert sample:smollm2

  trtbuild convert Qwen/Qwen2.5-7B-Instruct --name qwen --set max_model_len=8192

  trtbuild convert ./my-llama --adapter french=./lora-french --triton 26.04

  trtbuild convert meta-llama/Llama-3.1-8B-Instruct --weights hub --dry-run

  trtbuild convert ./llama --backend trtllm-engine --set max_batch_size=32 --dry-run

  trtbuild convert ./llama --backend trtllm-engine --engine ./llama-engine

  trtbuild convert BAAI/bge-small-en-v1.5 --contract openai-frontend

  trtbuild convert BAAI/bge-small-en-v1.5 --quantize int8

  trtbuild convert -f trtbuild.yaml
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("convert", epilog=_EPILOG)(convert)


def convert(
    source: options.Source = "",
    *,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Convert every model of this recipe.")
    ] = None,
    name: options.Name = "",
    backend: options.Backend = "auto",
    repo: Annotated[
        Path | None, typer.Option(help="Model repository; default model_repository.")
    ] = None,
    triton: options.Triton = "",
    settings: options.Settings = None,
    dtype: options.Dtype = "",
    quantize: options.Quantize = "",
    accelerator: options.Accelerator = "",
    weights: options.Weights = "copy",
    adapter: options.Adapters = None,
    engine: options.EngineDir = "",
    build: Annotated[
        bool,
        typer.Option(
            "--build/--no-build", help="Compile the engine now, or write everything but it."
        ),
    ] = True,
    engines: Annotated[
        Path | None,
        typer.Option(help="Directory of compiled engines; default: engines, beside --repo."),
    ] = None,
    contract: Annotated[
        str,
        typer.Option(
            help="openai-frontend: also write NAME_openai, which Triton's OpenAI frontend can ask "
            "for embeddings."
        ),
    ] = "",
    trust_remote_code: options.TrustRemoteCode = False,
    allow_pickle: options.AllowPickle = False,
    link: Annotated[
        bool,
        typer.Option(
            "--link", help="Hard link a local directory's weights: no copy, but shared files."
        ),
    ] = False,
    force: options.Force = False,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Convert a checkpoint into a model repository, completely or not at all."""
    from trtbuild.cli.convert_view import as_dict, print_result
    from trtbuild.cli.output import print_json, progress
    from trtbuild.cli.recipe_file import asked_recipe
    from trtbuild.pipeline.convert import convert_all

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
        build=build,
        contract=contract,
    )
    repository = repo or _repository(recipe, file)
    with progress() as bars:
        results = convert_all(
            recipe,
            repository=repository,
            progress=bars,
            force=force,
            dry_run=dry_run,
            link=link,
            engines=engines,
        )
    if as_json:
        models = [as_dict(result) for result in results]
        print_json({"repository": str(repository), "models": models})
        return
    for result in results:
        print_result(result)


def _repository(recipe: Recipe, file: Path | None) -> Path:
    """A recipe's repository is meant from where the recipe lies."""
    return file.parent / recipe.repository if file else Path(recipe.repository)

"""``trtbuild convert``: a checkpoint becomes a model of a repository."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from trtbuild.cli import options
from trtbuild.cli.fields import from_fields, option
from trtbuild.cli.recipe_file import ModelFlags, asked_recipe

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertOptions:
    """What is made of the model, and where."""

    repo: Path | None = option(None, "Model repository; default model_repository.")
    build: bool = option(
        True, "Compile the engine now, or write everything but it.", flag="--build/--no-build"
    )
    engines: Path | None = option(
        None, "Directory of compiled engines; default: engines, beside --repo."
    )
    contract: str = option(
        "",
        "openai-frontend: also write NAME_openai, which Triton's OpenAI frontend can ask for "
        "embeddings.",
    )
    link: bool = option(False, "Hard link a local directory's weights: no copy, but shared files.")
    force: options.Force = False
    dry_run: options.DryRun = False
    as_json: options.AsJson = False


@from_fields(ModelFlags, ConvertOptions)
def convert(model: ModelFlags, asked: ConvertOptions) -> None:
    """Convert a checkpoint into a model repository, completely or not at all."""
    from trtbuild.cli.convert_view import as_dict, print_result
    from trtbuild.cli.output import print_json, progress
    from trtbuild.pipeline.convert import convert_all

    recipe = asked_recipe(model, build=asked.build, contract=asked.contract)
    repository = asked.repo or _repository(recipe, model.file)
    with progress() as bars:
        results = convert_all(
            recipe,
            repository=repository,
            progress=bars,
            force=asked.force,
            dry_run=asked.dry_run,
            link=asked.link,
            engines=asked.engines,
        )
    if asked.as_json:
        models = [as_dict(result) for result in results]
        print_json({"repository": str(repository), "models": models})
        return
    for result in results:
        print_result(result)


def _repository(recipe: Recipe, file: Path | None) -> Path:
    """A recipe's repository is meant from where the recipe lies."""
    return file.parent / recipe.repository if file else Path(recipe.repository)

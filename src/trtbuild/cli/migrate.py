"""``trtbuild migrate``: from TensorRT engines to the LLM API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trtbuild.cli import options

if TYPE_CHECKING:
    from trtbuild.pipeline.migrate import Migrated

_EPILOG = """
Examples

  trtbuild migrate ./triton_model_repo --source Qwen/Qwen2.5-7B-Instruct --repo ./new

  trtbuild migrate ./old --source chat=./llama --source code=./qwen --repo ./new

  trtbuild migrate ./old --source ./llama --repo ./new --dry-run --json
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("migrate", epilog=_EPILOG)(migrate)


def migrate(
    engine_repo: Annotated[Path, typer.Argument(help="An inflight_batcher_llm-style repository.")],
    *,
    repo: Annotated[Path, typer.Option(help="The model repository to write into.")],
    source: Annotated[
        list[str] | None,
        typer.Option(help="The checkpoint, or NAME=CHECKPOINT for each LLM; repeatable."),
    ] = None,
    name: options.Name = "",
    settings: options.Settings = None,
    triton: options.Triton = "26.07",
    force: Annotated[
        bool, typer.Option("--force", help="Replace what has the name, and edited files.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Write the LLM API's form of a repository that serves TensorRT engines.

    What maps is kept, what is not needed any more is named, and what has no counterpart is listed
    with what to do. The old repository is only read.
    """
    from trtbuild.cli.output import print_json, progress
    from trtbuild.pipeline.migrate import as_document, left_out
    from trtbuild.pipeline.migrate import migrate as run

    with progress() as bars:
        found = run(
            engine_repo,
            repo,
            sources=source or (),
            name=name,
            settings=settings or (),
            triton=triton,
            dry_run=dry_run,
            force=force,
            progress=bars,
        )
    left = left_out(engine_repo, found)
    if as_json:
        models = [as_document(one) for one in found]
        print_json({"repository": repo, "models": models, "left": left})
        return
    for one in found:
        _print(one)
    for model, runs in left.items():
        typer.echo(f"not migrated: {model} ({runs}), which belongs to none of these")
    if not dry_run:
        typer.echo(f"next: trtbuild validate {repo}\n      trtbuild serve --rehearse {repo}")


def _print(one: Migrated) -> None:
    account = one.account
    models = ", ".join(one.deployment.models)
    typer.echo(f"{models} → {one.recipe.name} ({one.result.status})")
    typer.echo(f"  checkpoint  {one.recipe.source}")
    for change in account.mapped:
        typer.echo(f"  kept        {change.key} = {change.old}: {change.to} = {change.new}")
    for change in account.moot:
        typer.echo(f"  not needed  {change.key}: {change.why}")
    for loss in account.lost:
        typer.echo(f"  LOST        {loss.key} = {loss.old}: {loss.why}")
        typer.echo(f"              fix: {loss.fix}")
    for old, new in account.tensors.items():
        typer.echo(f"  clients     {old} is now {new}")
    for name in account.tensors_lost:
        typer.echo(f"  clients     {name} has no counterpart")

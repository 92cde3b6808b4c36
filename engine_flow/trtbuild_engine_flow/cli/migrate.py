"""``trtbuild migrate``: from TensorRT engines to the LLM API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trtbuild.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trtbuild_engine_flow.jobs.migrate import Migrated

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
    engine_repo: Annotated[
        Path, typer.Argument(help="A repository in the form of NVIDIA's inflight_batcher_llm.")
    ],
    *,
    repo: Annotated[Path, typer.Option(help="The model repository to write into.")],
    source: Annotated[
        list[str] | None,
        typer.Option(help="The checkpoint, or NAME=CHECKPOINT for each LLM; repeatable."),
    ] = None,
    name: options.Name = "",
    settings: options.Settings = None,
    triton: options.Triton = "26.07",
    force: options.Force = False,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Write the LLM API's form of a repository that serves TensorRT engines.

    Each parameter is kept, named as no longer needed, or, if it has no counterpart, listed
    with what to do. The old repository is only read.
    """
    from trtbuild.cli.output import print_json, progress
    from trtbuild_engine_flow.jobs.migrate import as_document, left_out
    from trtbuild_engine_flow.jobs.migrate import migrate as run

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
    _print_callers(found)
    for one in found:
        _print(one)
    asking = {caller.model for one in found for caller in one.deployment.callers}
    for model, runs in left.items():
        why = "calls them, see above" if model in asking else "belongs to none of these"
        typer.echo(f"not migrated: {model} ({runs}), which {why}")
    if not dry_run:
        typer.echo(f"next: trtbuild validate {repo}\n      trtbuild serve --rehearse {repo}")


def _print_callers(results: Sequence[Migrated]) -> None:
    """First of all the models that break: they ask for what will not be there."""
    for one in results:
        for caller in one.deployment.callers:
            sends = f" with {', '.join(caller.sends)}" if caller.sends else ""
            reads = f" and reads {', '.join(caller.reads)}" if caller.reads else ""
            typer.echo(
                f"BREAKS  {caller.model} calls {caller.calls}{sends}{reads} "
                f"({caller.file}:{caller.line})"
            )
            typer.echo(
                f"        fix: let it send text_input to {one.recipe.name} and read text_output, "
                f"or do not migrate {one.deployment.engine_model}"
            )


def _print(migrated: Migrated) -> None:
    from trtbuild_engine_flow.migration import UNFILLED

    account = migrated.account
    models = ", ".join(migrated.deployment.models)
    typer.echo(f"{models} → {migrated.recipe.name} ({migrated.result.status})")
    typer.echo(f"  checkpoint  {migrated.recipe.source}")
    for change in account.mapped:
        typer.echo(f"  kept        {change.key} = {change.old}: {change.to} = {change.new}")
    for loss in account.lost:
        old = f" = {loss.old}" if loss.old else ""
        typer.echo(f"  LOST        {loss.key}{old}: {loss.why}")
        typer.echo(f"              fix: {loss.fix}")
    unfilled = [change.key for change in account.moot if change.old == UNFILLED]
    for change in account.moot:
        if change.old != UNFILLED:
            typer.echo(f"  not needed  {change.key}: {change.why}")
    if unfilled:
        typer.echo(f"  not needed  never filled in, so the default applied: {', '.join(unfilled)}")
    for old, new in account.tensors.items():
        typer.echo(f"  clients     {old} is now {new}")
    if account.tensors_lost:
        typer.echo(f"  clients     without a counterpart: {', '.join(account.tensors_lost)}")

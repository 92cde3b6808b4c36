"""``trtbuild launch``: start models of several ranks by mpirun or Slurm."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from trtbuild.cli import options
from trtbuild.cli.fields import from_fields, option

if TYPE_CHECKING:
    from trtbuild_engine_flow.jobs.launch import LaunchPlan

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_EPILOG = """
Examples

  trtbuild launch ./model_repository

  trtbuild launch /shared/models --with srun --nodes 2 --host 0.0.0.0 --image IMAGE

  trtbuild launch /shared/models --with sbatch --image IMAGE --slurm partition=gpu --out job.sbatch

  trtbuild launch /models --mode orchestrator --run
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("launch", epilog=_EPILOG)(launch)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchFlags:
    """Which repository, how it is started, and what to do with the command."""

    repo: Path = option(
        Path("model_repository"),
        "The repository, as the machines see it.",
        argument=True,
        show_default=True,
    )
    using: str = option("mpirun", "mpirun, srun or sbatch.", flag="--with")
    mode: str = option("auto", "auto, plain, leader, orchestrator or llmapi.")
    nodes: int = option(0, "Machines; 0: as few as needed.", min=0)
    gpus_per_node: int = option(8, "GPUs of each machine.", min=1)
    image: str = option("", "Container image for the ranks.")
    slurm: tuple[str, ...] = option((), "Option for Slurm, such as partition=gpu; repeatable.")
    host: str = option("127.0.0.1", "Address to listen on.")
    port: str = option("", "First of three ports; default 8000.")
    arg: tuple[str, ...] = option((), "Extra argument for tritonserver; repeatable.")
    out: Path | None = option(None, "Write the sbatch file here; default: print it.")
    run: bool = option(False, "Run the command instead of printing it.")
    validate: bool = option(True, "Validate the repository first.", flag="--validate/--no-validate")
    as_json: options.AsJson = False


@from_fields(LaunchFlags)
def launch(asked: LaunchFlags) -> None:
    """Print the command that starts every rank of a repository, or run it."""
    from trtbuild.cli.output import progress
    from trtbuild.errors import UsageError
    from trtbuild.pipeline.ports import choose_ports
    from trtbuild.server import LaunchOptions
    from trtbuild_engine_flow.jobs import launch as pipeline

    if asked.out is not None and asked.using != "sbatch":
        raise UsageError("--out is for a batch script", fix="add --with sbatch")
    ports = choose_ports(asked.port, host=asked.host, here=asked.using == "mpirun")
    with progress() as bars:
        planned = pipeline.plan_launch(
            asked.repo,
            using=asked.using,
            how=asked.mode,
            nodes=asked.nodes,
            gpus_per_node=asked.gpus_per_node,
            image=asked.image,
            slurm=asked.slurm,
            options=LaunchOptions(host=asked.host, ports=ports, arguments=asked.arg),
            validate=asked.validate,
            progress=bars,
        )
    if asked.out is not None and planned.script:
        pipeline.write_script(planned, asked.out)
    if asked.run:
        pipeline.run(planned, script=asked.out, log=Path("triton.log"), on_line=typer.echo)
    elif asked.as_json:
        _print_json(planned)
    else:
        _print(planned, asked)


def _print_json(planned: LaunchPlan) -> None:
    from trtbuild.cli.output import print_json

    layout = planned.layout
    print_json(
        {
            "mode": layout.how,
            "why": layout.why,
            "world": layout.world,
            "models": layout.models,
            "command": planned.command,
            "env": planned.env,
            "script": planned.script,
        }
    )


def _print(planned: LaunchPlan, asked: LaunchFlags) -> None:
    typer.echo(f"{planned.layout.how}: {planned.layout.why}", err=True)
    for model in planned.layout.models:
        if model.problem:
            typer.echo(f"warning: {model.name}: {model.problem}", err=True)
    if asked.using != "mpirun" and asked.host in _LOOPBACK:
        typer.echo("it answers on its own machine alone; --host 0.0.0.0 for all", err=True)
    if asked.out is not None and planned.script:
        typer.echo(f"sbatch {shlex.quote(str(asked.out))}")
    else:
        typer.echo(planned.script or planned.line)

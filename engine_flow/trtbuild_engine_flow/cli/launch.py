"""``trtbuild launch``: start models of several ranks by mpirun or Slurm."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from trtbuild.cli import options

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


def launch(
    repo: Annotated[Path, typer.Argument(help="The repository, as the machines see it.")] = Path(
        "model_repository"
    ),
    *,
    using: Annotated[str, typer.Option("--with", help="mpirun, srun or sbatch.")] = "mpirun",
    mode: Annotated[
        str, typer.Option(help="auto, plain, leader, orchestrator or llmapi.")
    ] = "auto",
    nodes: Annotated[int, typer.Option(min=0, help="Machines; 0: as few as needed.")] = 0,
    gpus_per_node: Annotated[int, typer.Option(min=1, help="GPUs of each machine.")] = 8,
    image: Annotated[str, typer.Option(help="Container image for the ranks.")] = "",
    slurm: Annotated[
        list[str] | None, typer.Option(help="Slurm's option such as partition=gpu; repeatable.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[str, typer.Option(help="First of three ports; default 8000.")] = "",
    arg: Annotated[
        list[str] | None, typer.Option(help="Extra argument for tritonserver; repeatable.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the sbatch file here; default: print it.")
    ] = None,
    run: Annotated[
        bool, typer.Option("--run", help="Run the command instead of printing it.")
    ] = False,
    validate: Annotated[
        bool, typer.Option("--validate/--no-validate", help="Validate the repository first.")
    ] = True,
    as_json: options.AsJson = False,
) -> None:
    """Print the command that starts every rank of a repository, or run it."""
    from trtbuild.cli.output import print_json, progress
    from trtbuild.errors import UsageError
    from trtbuild.pipeline.ports import choose_ports
    from trtbuild.server import LaunchOptions
    from trtbuild_engine_flow.jobs import launch as pipeline

    if out is not None and using != "sbatch":
        raise UsageError("--out is for a batch script", fix="add --with sbatch")
    here = using == "mpirun"
    ports = choose_ports(port, host=host, here=here)
    with progress() as bars:
        planned = pipeline.plan_launch(
            repo,
            using=using,
            how=mode,
            nodes=nodes,
            gpus_per_node=gpus_per_node,
            image=image,
            slurm=tuple(slurm or ()),
            options=LaunchOptions(host=host, ports=ports, arguments=tuple(arg or ())),
            validate=validate,
            progress=bars,
        )
    if out is not None and planned.script:
        pipeline.write_script(planned, out)
    if run:
        pipeline.run(planned, script=out, log=Path("triton.log"), on_line=typer.echo)
        return
    if as_json:
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
        return
    typer.echo(f"{planned.layout.how}: {planned.layout.why}", err=True)
    for model in planned.layout.models:
        if model.problem:
            typer.echo(f"warning: {model.name}: {model.problem}", err=True)
    if not here and host in _LOOPBACK:
        typer.echo("it answers on its own machine alone; --host 0.0.0.0 for all", err=True)
    if out is not None and planned.script:
        typer.echo(f"sbatch {shlex.quote(str(out))}")
    else:
        typer.echo(planned.script or planned.line)

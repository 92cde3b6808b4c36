"""A server's command as one job step of Slurm, and the batch script around it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trtbuild.progress import SILENT
from trtbuild.server.contents import Contents
from trtbuild.server.mode import LaunchOptions, ServerJob, server_arguments
from trtbuild.server.mpi import environment, follower, under_mpi
from trtbuild.server.ranks import RankLayout
from trtbuild_engine_flow.resources import template_dir


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a scheduler is told.

    Attributes:
        nodes: Machines.
        gpus_per_node: GPUs, and so ranks, of each.
        image: Container image for the ranks (``--container-image``, Slurm's pyxis); empty: none.
        mounts: ``HOST:INSIDE`` pairs for the container.
        options: Further options such as ``partition=gpu``.
        name: The job's name.
        host: Where rank 0 listens.
    """

    nodes: int
    gpus_per_node: int
    image: str = ""
    mounts: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    name: str = "trtbuild"
    host: str = "127.0.0.1"

    def per_node(self, ranks: int) -> int:
        """Ranks of each machine, shared out evenly."""
        return -(-ranks // self.nodes)


def server_words(contents: Contents, options: LaunchOptions, repository: str) -> tuple[str, ...]:
    """``tritonserver`` with its arguments, for a repository at that path."""
    job = ServerJob("", contents, options, Path(), SILENT)
    arguments = server_arguments(job, repository, host=options.host, ports=options.ports)
    return ("tritonserver", *arguments)


def under_slurm(
    layout: RankLayout, server: Sequence[str], cluster: Cluster, *, in_job: bool = False
) -> tuple[str, ...]:
    """The server's command as one job step of Slurm.

    ``in_job``: the step is part of a batch script, which has asked for the GPUs and the rest.
    """
    container = [f"--container-image={pyxis_image(cluster.image)}"] if cluster.image else []
    container += [f"--container-mounts={mount}" for mount in cluster.mounts]
    ranks = max(1, layout.world)
    asked = [] if in_job else [f"--gpus-per-node={cluster.gpus_per_node}"]
    asked += [] if in_job else [f"--{option}" for option in cluster.options]
    # Slurm's PMIx spawns no processes, which an orchestrator does: its one task is mpirun, whose
    # own slots are that task's, so that the ranks it spawns are more than there are.
    spawns = layout.how == "orchestrator"
    step = [
        "srun", f"--mpi={'none' if spawns else 'pmix'}",
        f"--nodes={cluster.nodes}", f"--ntasks={ranks}",
        f"--ntasks-per-node={cluster.per_node(ranks)}", *asked, *container,
    ]  # fmt: skip
    if layout.how == "llmapi":
        return (*step, "trtllm-llmapi-launch", *server)
    if spawns:
        mpirun = under_mpi(layout, server, gpus=cluster.gpus_per_node)
        return (*step, *mpirun[:2], "--oversubscribe", *mpirun[2:])
    if layout.how != "leader" or ranks == 1:
        return (*step, *server)
    first, other = shlex.join(server), shlex.join(follower(layout, server))
    script = f'if [ "${{PMIX_RANK:-$SLURM_PROCID}}" = 0 ]; then exec {first}; fi; exec {other}'
    return (*step, "bash", "-c", script)


def sbatch_file(layout: RankLayout, server: Sequence[str], cluster: Cluster) -> str:
    """A batch script for Slurm that runs the server until it is cancelled."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment_ = Environment(  # noqa: S701 - it writes shell, quoted by shlex
        loader=FileSystemLoader(template_dir("launch")),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment_.filters["sh"] = shlex.quote
    return environment_.get_template("sbatch.sh.j2").render(
        name=cluster.name,
        nodes=cluster.nodes,
        ranks=max(1, layout.world),
        per_node=cluster.per_node(max(1, layout.world)),
        gpus_per_node=cluster.gpus_per_node,
        options=cluster.options,
        environment=environment(layout),
        host=cluster.host,
        command=shlex.join(under_slurm(layout, server, cluster, in_job=True)),
    )


def pyxis_image(image: str) -> str:
    """An image's name as pyxis wants it: ``#`` after the registry.

    With docker's slash it would be looked for on Docker Hub, which answers 401
    (https://github.com/NVIDIA/pyxis/issues/39). A file of the machine stays as it is.
    """
    scheme, colons, name = image.rpartition("://")
    registry, slash, rest = name.partition("/")
    is_host = registry == "localhost" or "." in registry.strip(".") or ":" in registry
    if not slash or not is_host or "#" in name:
        return image
    return f"{scheme}{colons}{registry}#{rest}"

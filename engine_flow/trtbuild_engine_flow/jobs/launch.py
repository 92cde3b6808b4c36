"""Start a repository whose models need several ranks: check, print, run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from trtbuild import hardware, process, server
from trtbuild.errors import ServerError, UsageError
from trtbuild.files import atomic_write, disk_trouble
from trtbuild.pipeline.serve import require_valid
from trtbuild.progress import SILENT, Progress
from trtbuild.server import Contents, LaunchOptions, RankLayout
from trtbuild.signature import MOUNT
from trtbuild_engine_flow.slurm import Cluster, sbatch_file, server_words, under_slurm

With = Literal["mpirun", "srun", "sbatch"]
WITHS = ("mpirun", "srun", "sbatch")


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """What will be run: the layout, the command, and the batch script if there is one."""

    contents: Contents
    layout: RankLayout
    command: tuple[str, ...]
    env: dict[str, str]
    script: str = ""
    here: bool = True
    """Whether the ranks run on this machine, so that what it has can be checked."""

    @property
    def line(self) -> str:
        """The command to paste into a shell."""
        words = [f"{key}={shlex.quote(value)}" for key, value in self.env.items()]
        return " ".join([*words, shlex.join(self.command)])


def plan_launch(
    repo: Path,
    *,
    using: str,
    how: str,
    nodes: int,
    gpus_per_node: int,
    image: str,
    slurm: tuple[str, ...],
    options: LaunchOptions,
    validate: bool = True,
    progress: Progress = SILENT,
) -> LaunchPlan:
    """Decide how a repository's ranks are started.

    Args:
        repo: The repository, as the machines that run it see it.
        using: ``mpirun`` on this machine, ``srun`` or ``sbatch`` on a cluster.
        how: ``auto``, ``plain``, ``leader``, ``orchestrator`` or ``llmapi``.
        nodes: Machines; 0: as few as the ranks need.
        gpus_per_node: GPUs of each.
        image: Container image for the ranks; empty: no container.
        slurm: Options for Slurm such as ``partition=gpu``.
        options: Ports and further arguments of the server.
        validate: Refuse a repository that would not load.
        progress: Called before a slow step.

    Raises:
        UsageError: An unknown value, or too few nodes for the ranks.
        RepositoryError: It would not load.
        ServerError: The models cannot be started that way.
    """
    _require_options(using, slurm)
    contents = server.read_contents(repo)
    if validate:
        require_valid(contents.repo, progress=progress)
    layout = server.lay_out(contents, how)
    nodes = _nodes(layout, nodes, gpus_per_node)
    if nodes > 1 and layout.how == "plain":
        layout = _over_machines(contents, how, nodes)
    inside = MOUNT if image else str(contents.repo)
    _require_paths(contents, inside)
    words = server_words(contents, options, inside)
    env = dict(server.environment(layout))
    if using == "mpirun":
        if nodes > 1:
            raise UsageError(
                f"{layout.world} ranks take {nodes} machines of {gpus_per_node} GPUs, and mpirun "
                "starts them on this one",
                fix="use --with srun or sbatch, or say how many GPUs it has (--gpus-per-node N)",
            )
        if image:
            wanted = replace(options, image=image, launch=layout.how, gpu_count=gpus_per_node)
            return LaunchPlan(contents, layout, server.container_command(contents, wanted), {})
        command = server.under_mpi(layout, words, gpus=gpus_per_node)
        return LaunchPlan(contents, layout, command, env)
    mounts = (_mount(contents.repo),) if image else ()
    name = re.sub(r"[^\w.-]", "_", contents.llm or contents.models[0])
    cluster = Cluster(nodes, gpus_per_node, image, mounts, slurm, name, options.host)
    command = under_slurm(layout, words, cluster)
    script = sbatch_file(layout, words, cluster) if using == "sbatch" else ""
    return LaunchPlan(contents, layout, command, env, script, here=False)


def _require_options(using: str, slurm: tuple[str, ...]) -> None:
    if using not in WITHS:
        raise UsageError(f"--with {using!r} is not known", fix=f"use {', '.join(WITHS)}")
    if slurm and using == "mpirun":
        raise UsageError("--slurm is for Slurm", fix="add --with srun or --with sbatch")
    if wrong := [option for option in slurm if not re.fullmatch(r"[a-z][\w-]*(=[^\n]*)?", option)]:
        raise UsageError(
            f"--slurm {wrong[0]!r} is not an option of {using}",
            fix="write it without dashes: --slurm partition=gpu",
        )


def _mount(repo: Path) -> str:
    """Return pyxis' mount option, which separates paths by commas and colons."""
    if marks := set(str(repo)) & {",", ":"}:
        raise UsageError(
            f"the container cannot mount a path with {' and '.join(sorted(map(repr, marks)))}",
            where=str(repo),
            fix="move the repository to a path without",
        )
    return f"{repo}:{MOUNT}"


def _require_paths(contents: Contents, inside: str) -> None:
    """Check that generated parameters, which name container paths, are valid on the nodes."""
    if contents.mounted_paths and inside != MOUNT:
        raise UsageError(
            f"the models name their files below {MOUNT}, and the repository would be seen "
            f"at {inside}",
            where=str(contents.repo),
            fix=f"give the container image that runs the ranks (--image), mount the repository "
            f"at {MOUNT}, or use trtbuild serve --mode local, which moves the paths",
        )


def _over_machines(contents: Contents, how: str, nodes: int) -> RankLayout:
    """Return the LLM API's own launcher for several machines."""
    if how != "auto" or "llmapi" not in contents.trtllm.values():
        raise UsageError(
            f"there is one process, for one machine, and {nodes} are asked for",
            where=str(contents.repo),
            fix="leave --mode and --nodes out; a model of the LLM API takes several with "
            "--mode llmapi",
        )
    return replace(server.lay_out(contents, "llmapi"), why=f"the LLM API on {nodes} machines")


def _nodes(layout: RankLayout, nodes: int, gpus_per_node: int) -> int:
    widest = max((model.world for model in layout.models), default=1)
    needed = -(-widest // gpus_per_node)
    if layout.how == "orchestrator" and needed > 1:
        raise UsageError(
            f"an orchestrator starts its ranks on one machine, and {widest} ranks take {needed} "
            f"of {gpus_per_node} GPUs",
            fix="use --launch leader",
        )
    if nodes and nodes < needed:
        raise UsageError(
            f"{nodes} nodes of {gpus_per_node} GPUs do not hold {widest} ranks",
            fix=f"use --nodes {needed}",
        )
    return nodes or needed


def write_script(planned: LaunchPlan, out: Path) -> None:
    """Write the batch script.

    Raises:
        UsageError: The directory does not exist, or the path is a directory.
        BuildError: The disk is full, read-only or broken.
    """
    if out.is_dir() or not out.absolute().parent.is_dir():
        what = "is a directory" if out.is_dir() else "would lie in a directory that does not exist"
        raise UsageError(f"the batch script {out} {what}", fix="name a file: --out job.sbatch")
    with disk_trouble(out.absolute().parent):
        atomic_write(out, planned.script.encode())


def run(
    planned: LaunchPlan, *, script: Path | None, log: Path, on_line: Callable[[str], None]
) -> None:
    """Run the command until it ends, or submit the batch script.

    Engine files and GPU ids are checked first. If the ranks run on this machine, so are the GPUs
    and the shared memory; for other machines only the scheduler knows these.

    Raises:
        UsageError: The batch script was not written.
        ServerError: It cannot start, or ended with an error.
        BuildError: There is no such program.
    """
    command = planned.command
    if planned.here and command[0] in ("docker", "podman"):
        raise UsageError(
            "a container is started by trtbuild serve, which also waits for it and stops it",
            fix=f"trtbuild serve {planned.contents.repo} --mode docker --launch "
            f"{planned.layout.how} --image IMAGE",
        )
    if planned.script:
        if script is None:
            raise UsageError("a batch script is submitted from a file", fix="add --out FILE")
        command = ("sbatch", str(script))
    gpus = len(hardware.detect()) if planned.here else None
    shm = server.shm_bytes() if planned.here else None
    server.require_startable(planned.contents, planned.layout, gpus=gpus, shm_bytes=shm)
    with disk_trouble(log.absolute().parent):
        code = process.run_lines(command, on_line=on_line, log_path=log, env=planned.env)
    if code:
        raise ServerError(
            f"{command[0]} ended with exit code {code}",
            where=str(log),
            fix="read the log; trtbuild explain LOG names the cause where it is known",
        )

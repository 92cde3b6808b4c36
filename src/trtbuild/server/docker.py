"""Run NVIDIA's container image with docker or podman."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from trtbuild import process
from trtbuild.container import ContainerSpec, Mount, Port, run_arguments
from trtbuild.errors import ServerError, UsageError
from trtbuild.progress import SILENT
from trtbuild.resources import expanded
from trtbuild.server.contents import Contents
from trtbuild.server.mode import LaunchOptions, Ports, ServerCommand, ServerJob, server_arguments
from trtbuild.server.mpi import environment, under_mpi
from trtbuild.server.ranks import lay_out
from trtbuild.signature import MOUNT

_HUB_HOME = "/hf"
_INSIDE = Ports()


def engine() -> str:
    """Return ``docker`` or ``podman``, whichever has a running engine; ``""`` without one."""
    for tool in ("docker", "podman"):
        if shutil.which(tool) and process.run([tool, "info"], timeout=20).ok:
            return tool
    return ""


def unavailable() -> str:
    """Return why this mode is unavailable: it needs a running engine."""
    if engine():
        return ""
    tools = [tool for tool in ("docker", "podman") if shutil.which(tool)]
    if not tools:
        return "neither docker nor podman is installed"
    return f"no response from {' or '.join(tools)}"


def command(job: ServerJob) -> ServerCommand:
    """Return ``docker run`` in the foreground. A dry run needs no engine."""
    tool = engine()
    if not tool:
        if not job.dry_run:
            raise ServerError(
                f"no container can be started: {unavailable()}",
                fix="start the engine (systemctl start docker), join its group, or use "
                "--mode embedded",
            )
        tool = "docker" if shutil.which("docker") or not shutil.which("podman") else "podman"
    spec = container(job)
    argv = run_arguments(spec, tool)
    return ServerCommand(argv, spec.secrets, container=spec.name, tool=tool)


def container(job: ServerJob) -> ContainerSpec:
    """Return the server of ``job`` as a container of NVIDIA's image."""
    options = job.options
    layout = lay_out(job.contents, options.launch)
    arguments = server_arguments(job, MOUNT, host="0.0.0.0", ports=_INSIDE)  # noqa: S104 - inside
    program = under_mpi(layout, ("tritonserver", *arguments), gpus=options.gpu_count)
    hub = job.contents.needs_hub
    return ContainerSpec(
        image=image(job),
        command=tuple(program),
        name=f"trtbuild-{job.id}",
        env={
            **({"HF_HOME": _HUB_HOME} if hub else {}),
            **environment(layout),
            **job.contents.environment,
            **options.env,
        },
        inherited=tuple(_hub_variables(options.env)) if hub else (),
        mounts=(Mount(str(job.contents.repo), MOUNT), *((_hub_cache(),) if hub else ())),
        ports=_published(options),
        shm_size=options.shm_size,
        gpus=options.gpus,
        ulimits={"memlock": -1, "stack": 67108864},
    )


def container_command(contents: Contents, options: LaunchOptions) -> tuple[str, ...]:
    """Return ``docker run`` for a repository, as a shell command; needs no running engine."""
    job = ServerJob("launch", contents, options, Path(), SILENT, dry_run=True)
    return command(job).argv


def image(job: ServerJob) -> str:
    """Return the image to run: as requested, or the one in the lock file.

    Raises:
        UsageError: None, or several.
    """
    if job.options.image:
        return job.options.image
    images = job.contents.images
    if len(images) == 1:
        return images[0]
    if images:
        raise UsageError(
            f"the models of this repository need {len(images)} different images",
            where=str(job.contents.repo),
            fix="serve them from repositories of their own, or choose with --image",
            details=images,
        )
    raise UsageError(
        "the container image for this repository is unknown (no trtbuild.lock)",
        where=str(job.contents.repo),
        fix="name it: --image nvcr.io/nvidia/tritonserver:YY.MM-py3",
    )


def stop(tool: str, container: str, seconds: int) -> None:
    """Stop a container; the engine kills it after ``seconds``."""
    process.run([tool, "stop", "-t", str(seconds), container], timeout=seconds + 30)


def remove(tool: str, container: str) -> None:
    """Remove a container by force; one that is already gone is fine."""
    process.run([tool, "rm", "-f", container], timeout=30)


def log(container: str) -> str:
    """Return the log of a container.

    Raises:
        ServerError: No running engine, or it has no such container.
    """
    tool = engine()
    if not tool:
        raise ServerError(
            f"no container can be asked: {unavailable()}",
            fix="pipe its log instead: … logs NAME 2>&1 | trtbuild explain -",
        )
    answer = process.run([tool, "logs", container], timeout=120)
    if not answer.ok:
        raise ServerError(
            f"{tool} has no log of {container!r}",
            where=answer.stderr.strip(),
            fix=f"see the containers with `{tool} ps -a`",
        )
    return f"{answer.stdout}\n{answer.stderr}"


def _published(options: LaunchOptions) -> tuple[Port, ...]:
    pairs = zip(
        (options.ports.http, options.ports.grpc, options.ports.metrics),
        (_INSIDE.http, _INSIDE.grpc, _INSIDE.metrics),
        strict=True,
    )
    return tuple(Port(inner, outer, options.host) for outer, inner in pairs)


def _hub_cache() -> Mount:
    home = expanded(os.environ.get("HF_HOME") or "~/.cache/huggingface")
    return Mount(str(home), _HUB_HOME, writable=True)


def _hub_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """Return the hub's variables from our environment, unless set for the server by the user."""
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_ENDPOINT"):
        if os.environ.get(name) and name not in environment:
            yield name

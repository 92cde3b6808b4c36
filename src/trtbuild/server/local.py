"""Run the ``tritonserver`` on PATH, as inside NVIDIA's containers."""

from __future__ import annotations

import shutil

from trtbuild.errors import ServerError
from trtbuild.server.mode import ServerCommand, ServerJob, server_arguments
from trtbuild.server.mpi import environment, under_mpi
from trtbuild.server.ranks import lay_out
from trtbuild.server.view import make_view
from trtbuild.signature import MOUNT


def unavailable() -> str:
    """Return why this mode is unavailable: ``tritonserver`` must be installed."""
    return "" if shutil.which("tritonserver") else "no tritonserver is on PATH"


def command(job: ServerJob) -> ServerCommand:
    """Return ``tritonserver`` for the repository, or for a view of it if paths must change."""
    program = shutil.which("tritonserver")
    if program is None:
        raise ServerError(
            "no tritonserver is on PATH",
            fix="run this inside NVIDIA's Triton container, or use --mode docker or embedded",
        )
    contents, options = job.contents, job.options
    repository = contents.repo
    if contents.mounted_paths and str(repository) != MOUNT:
        repository = job.folder / "view"
        if not job.dry_run:
            make_view(contents.repo, repository)
    arguments = server_arguments(job, str(repository), host=options.host, ports=options.ports)
    prefix = f"--backend-config=python,shm-region-prefix-name={job.shm_prefix}"
    layout = lay_out(contents, options.launch)
    argv = under_mpi(layout, (program, *arguments, prefix), gpus=options.gpu_count)
    return ServerCommand(argv, {**environment(layout), **contents.environment, **options.env})

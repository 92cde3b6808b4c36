"""A line of a crontab."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from trtbuild.errors import UsageError
from trtbuild_batch.scheduling.declared import Job
from trtbuild_batch.scheduling.settings import ExportOptions


def render(job: Job, options: ExportOptions) -> str:
    """Return the line, with the absolute paths of this machine.

    Raises:
        UsageError: A path has a line break.
    """
    program = str(Path(sys.executable).with_name("trtbuild"))
    recipe = str(Path(options.file).absolute())
    words = [program, "batch", "run", "--job", job.name, "--file", recipe]
    if any("\n" in word for word in words):
        raise UsageError(
            "a path has a line break, which a crontab cannot have",
            where=recipe,
            fix="rename the directory",
        )
    command = shlex.join(words).replace("%", r"\%")  # cron takes % for a line break
    return (
        f"# The job {job.name} of trtbuild. cron uses the time zone of the machine.\n"
        "# It may run again at any time: what is done is kept, and only one process works on it.\n"
        f"{job.recipe.schedule} {command}\n"
    )

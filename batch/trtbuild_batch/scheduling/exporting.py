"""Write the file that lets a scheduler run a job."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path

from trtbuild.errors import UsageError
from trtbuild_batch.scheduling import airflow, cron, kubernetes
from trtbuild_batch.scheduling.declared import Job, read_job
from trtbuild_batch.scheduling.settings import ExportOptions

KINDS: Mapping[str, Callable[[Job, ExportOptions], str]] = {
    "airflow": airflow.render,
    "argo": kubernetes.argo,
    "cron": cron.render,
    "cronjob": kubernetes.cronjob,
}


def export(kind: str, name: str, options: ExportOptions) -> str:
    """Return the text of the file for a scheduler.

    Args:
        kind: One of ``KINDS``.
        name: The job in the recipe.
        options: Where it runs.

    Raises:
        UsageError: Another kind, no such job, or one that the scheduler cannot run.
        RecipeError: The recipe has a wrong value.
    """
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, 1)
        raise UsageError(
            f"unknown scheduler {kind!r}",
            fix=f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(KINDS)}",
        )
    job = read_job(Path(options.file), name)
    if not job.recipe.schedule:
        raise UsageError(
            f"the job {name!r} has no schedule",
            where=options.file,
            fix='give it one, such as schedule: "0 3 * * *" (every day at 3:00 UTC)',
        )
    if kind != "cronjob" and job.run.partition:
        raise UsageError(
            f"the job {name!r} is divided with partition, and {kind} runs one process",
            where=options.file,
            fix="leave partition out of its options, or export it with cronjob",
        )
    return KINDS[kind](job, options)

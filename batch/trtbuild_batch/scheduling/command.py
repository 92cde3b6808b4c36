"""The command of a job, with everything that it needs, for a scheduler on any machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields
from typing import Any

from trtbuild.errors import UsageError
from trtbuild.recipe import JobRecipe
from trtbuild_batch.options import TaskOptions
from trtbuild_batch.scheduling.declared import Job


def words(job: Job) -> list[str]:
    """Return the words of the command. A value is in the word of its flag, so that none is taken
    for another flag.

    Raises:
        UsageError: The file of the template cannot be read.
    """
    if job.refresh is not None:
        found = ["refresh", *_flags(job.refresh)]
    else:
        found = ["run", *_flags(job.run), *_flags(job.task, prompt=inlined(job.recipe).prompt)]
    return ["trtbuild", "batch", *found, "--", *job.run.inputs]


def _flags(options: Any, **changed: Any) -> Iterator[str]:
    for one in fields(options):
        value = changed.get(one.name, getattr(options, one.name))
        default = None if one.default is MISSING else one.default
        if one.metadata.get("argument") or value == default:
            continue
        flag = one.metadata.get("flag") or f"--{one.name.replace('_', '-')}"
        if value is True:
            yield flag
        else:
            yield from (
                f"{flag}={item}" for item in (value if isinstance(value, tuple) else [value])
            )


def inlined(recipe: JobRecipe) -> JobRecipe:
    """Return the job with its template instead of the template's file.

    Raises:
        UsageError: The file cannot be read, or its text would be taken for the name of a file.
    """
    if not recipe.prompt.startswith("@"):
        return recipe
    text = TaskOptions(prompt=recipe.prompt).template()
    if text.startswith("@"):
        raise UsageError(
            f"the template {recipe.prompt[1:]} begins with @, as the name of a file does",
            fix="begin it with another character, such as a space",
        )
    return recipe.model_copy(update={"prompt": text})

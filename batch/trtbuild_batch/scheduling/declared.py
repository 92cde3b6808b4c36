"""A job of ``trtbuild.yaml`` as the options of a command."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

from trtbuild.errors import RecipeError, UsageError
from trtbuild.recipe import JobRecipe, load_jobs
from trtbuild_batch import sinks
from trtbuild_batch.options import RunOptions, TaskOptions
from trtbuild_batch.refreshing.options import RefreshOptions

_Options = TypeVar("_Options", RunOptions, TaskOptions, RefreshOptions)
_NAMED = ("inputs", "out", "target", "model", "prompt", "embed", "rerank", "documents", "id",
          "keep", "sink")  # fmt: skip
"""Options that are keys of a job; all others are in its section ``options``, but for ``new``: a job
that runs every night would start again every night."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job.

    Attributes:
        name: Its key in the file.
        recipe: What the file says, with absolute paths.
        run: The options of ``trtbuild batch run``.
        task: What it asks.
        refresh: The options of ``trtbuild batch refresh`` instead, for a job with a sink.
    """

    name: str
    recipe: JobRecipe
    run: RunOptions
    task: TaskOptions
    refresh: RefreshOptions | None = None


def read_job(file: Path, name: str) -> Job:
    """Return a job of a file. Relative paths are meant from where the file lies.

    Raises:
        UsageError: The file has no such job.
        RecipeError: The file cannot be read, or has a wrong value.
    """
    jobs = load_jobs(file)
    if name not in jobs:
        near = difflib.get_close_matches(name, jobs, 1)
        known = f"the jobs are {', '.join(jobs)}" if jobs else "write it under jobs:"
        raise UsageError(
            f"{file} has no job {name!r}", fix=f"did you mean {near[0]!r}?" if near else known
        )
    where = f"{file}: jobs.{name}"
    try:
        recipe = _beside(file.absolute().parent, jobs[name])
        return _made(name, recipe, where)
    except UsageError as error:  # of a value that the command line would refuse, too
        raise RecipeError(error.what, where=where, fix=error.fix, details=error.details) from None


def _made(name: str, recipe: JobRecipe, where: str) -> Job:
    given = {key: getattr(recipe, key) for key in _NAMED if key != "inputs"}
    given["inputs"] = recipe.source
    if recipe.sink:
        if recipe.prompt or recipe.rerank or recipe.documents:
            raise UsageError(
                "a job with a sink embeds",
                fix="leave out prompt, rerank and documents, or the sink",
            )
        given |= _checked(recipe.options, where, RefreshOptions)
        options = _of(RefreshOptions, given)
        return Job(name, recipe, options.job(), options.task(), options)
    given |= _checked(recipe.options, where, RunOptions, TaskOptions)
    return Job(name, recipe, _of(RunOptions, given), _of(TaskOptions, given))


def _of(cls: type[_Options], values: Mapping[str, Any]) -> _Options:
    """Return the object with those of the values that it has fields for."""
    return cls(**{one.name: values[one.name] for one in fields(cls) if one.name in values})


def _beside(folder: Path, recipe: JobRecipe) -> JobRecipe:
    """Return the job with absolute paths."""

    def moved(text: str) -> str:
        return text if "://" in text else str(folder / text)

    changed: dict[str, Any] = {"source": tuple(map(moved, recipe.source)), "out": moved(recipe.out)}
    if recipe.prompt.startswith("@"):
        changed["prompt"] = f"@{folder / recipe.prompt[1:]}"
    if recipe.sink:
        changed["sink"] = str(sinks.parse(recipe.sink, folder))
    return recipe.model_copy(update=changed)


def _checked(given: Mapping[str, Any], where: str, *classes: type) -> dict[str, Any]:
    """Return the values of a section ``options``; RecipeError for a wrong name or value."""
    known = {one.name: one for cls in classes for one in fields(cls) if one.name not in _NAMED}
    known.pop("new", None)
    hints = {name: hint for cls in classes for name, hint in get_type_hints(cls).items()}
    problems, found = [], {}
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            more = f": did you mean {near[0]!r}?" if near else f": use one of {', '.join(known)}"
            problems.append(f"unknown option {name!r}{more}")
            continue
        try:
            found[name] = _typed(value, hints[name], known[name].metadata)
        except ValueError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise RecipeError(
            problems[0] if len(problems) == 1 else f"{len(problems)} options are wrong",
            where=f"{where}.options",
            details=tuple(problems) if len(problems) > 1 else (),
            fix="correct them; `trtbuild batch run --help` describes each",
        )
    return found


def _typed(value: Any, kind: Any, about: Mapping[str, Any]) -> Any:
    """Return a value of an option. ValueError with a short sentence if it cannot be one."""
    from pydantic import Field, TypeAdapter, ValidationError

    limits = Field(ge=about.get("min"), le=about.get("max"))
    limited: Any = Annotated[kind, limits] if "min" in about or "max" in about else kind
    try:
        return TypeAdapter(limited).validate_python(
            tuple(value) if isinstance(value, list) else value, strict=True
        )
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"].replace("Input should", "it should")) from None

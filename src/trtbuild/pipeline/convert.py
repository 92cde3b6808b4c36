"""Convert a model of a recipe into directories of a repository.

Everything is checked before a byte is written: the checkpoint, the builder, the
engine arguments, the name, the space. The result is validated before it is put in place.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from trtbuild import lockfile, planner, toolchain
from trtbuild.builder import Case
from trtbuild.checkpoint import (
    inspect,
    open_adapters,
    verify_shards,
    with_files,
)
from trtbuild.errors import RepositoryError
from trtbuild.lockfile import Lock, LockedFile
from trtbuild.modelspec import SourceRef
from trtbuild.pipeline import artifacts
from trtbuild.pipeline.asked import open_source, require_taken
from trtbuild.pipeline.job import (
    ConversionJob,
    digested_sources,
    entries_of,
    generated,
    key_needs_files,
    key_of,
    locked_of,
    weight_file,
)
from trtbuild.pipeline.rewriting import rewritten_of
from trtbuild.plan import ModelEntry
from trtbuild.planner.warnings import warnings
from trtbuild.progress import SILENT, Progress
from trtbuild.recipe import DEFAULT_TRITON, ModelRecipe, Recipe, check_model_name
from trtbuild.repository import intact, require_free, write_model

ENGINES = "engines"


@dataclass(frozen=True, slots=True)
class ConvertResult:
    """The result of a conversion.

    Attributes:
        status: ``written``, ``unchanged`` (nothing to do), or ``planned`` (a dry run).
        files: By path relative to the repository; for a dry run only the generated ones.
        weights: Where checkpoint files go, by directory, with their number and bytes.
        bytes: Size of all files.
        seconds: How long it took.
        artifacts: By name: ``given``, ``made``, ``wanted`` (a dry run) or ``later``.
        commands: What building the artifacts would run (a dry run).
        warnings: What a user should know about the recipe or the release; not errors.
    """

    name: str
    status: Literal["written", "unchanged", "planned"]
    repository: str
    source: SourceRef
    builder: str
    reason: str
    triton: str
    image: str
    files: Mapping[str, LockedFile]
    entries: tuple[ModelEntry, ...]
    bytes: int
    seconds: float
    artifacts: Mapping[str, str] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def convert_all(
    recipe: Recipe,
    *,
    repository: Path,
    progress: Progress = SILENT,
    force: bool = False,
    dry_run: bool = False,
    link: bool = False,
    engines: Path | None = None,
) -> tuple[ConvertResult, ...]:
    """Convert every model of a recipe; see :func:`convert`. Models done before an error stay."""
    return tuple(
        convert(
            model,
            repository=repository,
            triton=recipe.triton,
            progress=progress,
            force=force,
            dry_run=dry_run,
            link=link,
            engines=engines,
        )
        for model in recipe.models
    )


def convert(
    recipe: ModelRecipe,
    *,
    repository: Path,
    triton: str = DEFAULT_TRITON,
    progress: Progress = SILENT,
    force: bool = False,
    dry_run: bool = False,
    link: bool = False,
    engines: Path | None = None,
) -> ConvertResult:
    """Write one model into ``repository``, unless it is up to date.

    Args:
        recipe: The model.
        repository: Created if missing. It is unchanged after an error.
        triton: The release it is for, ``YY.MM``.
        force: Replace a model of another source, a foreign directory, files changed by hand; write
            again even if nothing changed.
        dry_run: Only report what would be written.
        link: Hard-link a local directory's weights. They take no space, but rewriting them in
            place changes the repository.
        engines: The directory of compiled engines, by model and key; default: beside
            ``repository``.

    Raises:
        UsageError: No such source or release; the name is taken.
        RecipeError: An engine argument is unknown or of the wrong type.
        UnsupportedError: The checkpoint is broken, or no builder supports it.
        BuildError: The network or the disk failed.
        RepositoryError: The result did not pass validation.
    """
    started = time.monotonic()
    job = _prepare(recipe, triton, progress)
    name = job.recipe.name
    lock = lockfile.read(repository)
    root = engines or repository.absolute().parent / ENGINES
    result = partial(_result, job, repository, started)
    if dry_run:
        require_free(repository, lock, name, locked_of(job, ""), force=force)
        told = artifacts.commands(job.artifacts, job.builder, job.case, job.checkpoint, root)
        return result("planned", generated(job.entries), commands=told)
    if "wanted" in job.states.values():
        # do not compile for an hour if the name is taken
        require_free(repository, lock, name, locked_of(job, ""), force=force)
        job = _with_artifacts(job, root, force, progress)
        result = partial(_result, job, repository, started)
    origins = digested_sources(job, progress) if key_needs_files(job) else {}
    model = locked_of(job, key_of(job, origins))
    older = lock.models.get(name)
    if older and older.key == model.key and not force and intact(repository, older):
        return result("unchanged", older.files)
    require_free(repository, lock, name, model, force=force)
    origins = origins or digested_sources(job, progress)
    weights = {
        origin: [weight_file(file, sha256, job, link, origin) for file, sha256 in files]
        for origin, files in origins.items()
    }
    later = "later" in job.states.values()
    written = write_model(
        repository,
        name,
        job.entries,
        weights,
        model,
        check=partial(require_valid, later=later, progress=progress),
        force=force,
        progress=progress,
    )
    return result("written", written.files)


def _prepare(recipe: ModelRecipe, triton: str, progress: Progress) -> ConversionJob:
    tools = toolchain.load(triton)
    progress.step(f"opening {recipe.source}")
    checkpoint = open_source(recipe, progress)
    name = check_model_name(recipe.name or checkpoint.default_name)
    recipe = recipe.model_copy(update={"name": name})
    spec = inspect(checkpoint, trust_remote_code=recipe.trust_remote_code)
    verify_shards(checkpoint)
    case = Case(spec, recipe, tools, checkpoint=checkpoint)
    builder, reason, _ = planner.choose_builder(case)
    require_taken(builder, recipe)
    case = replace(case, recipe=builder.completed(case))
    changed = rewritten_of(builder, case, checkpoint)
    case = replace(case, checkpoint=with_files(checkpoint, changed))
    needed = artifacts.possible(builder.artifacts(case), progress)
    case = replace(case, artifacts={one.name: one.there for one in needed if one.there})
    entries = entries_of(builder, case, changed)
    adapters = open_adapters(recipe.adapters)
    builder.require_adapters(case, adapters)
    return ConversionJob(case, builder, reason, checkpoint, adapters, changed, needed, entries)


def _with_artifacts(
    job: ConversionJob, root: Path, force: bool, progress: Progress
) -> ConversionJob:
    """Return the job with its artifacts built."""
    made = {
        one.name: artifacts.make(
            one, job.builder, job.case, job.checkpoint, root=root, force=force, progress=progress
        )
        for one in job.artifacts
        if one.state == "wanted"
    }
    case = replace(job.case, artifacts={**job.case.artifacts, **made})
    return replace(job, case=case, entries=entries_of(job.builder, case, job.changed))


def require_valid(folder: Path, lock: Lock, *, later: bool, progress: Progress) -> None:
    """Raise RepositoryError if the validator finds an error in what was just prepared.

    With ``later`` a missing artifact is not an error.
    """
    from trtbuild import check

    progress.step("validating what was written")
    report = check.validate(folder, lock=lock, progress=progress)
    expected = check.artifact_rules() if later else frozenset()
    errors = [
        finding
        for finding in report.findings
        if finding.severity == "error" and finding.rule not in expected
    ]
    if errors:
        raise RepositoryError(
            "Triton would not load the result, so nothing was changed",
            where=errors[0].file,
            details=tuple(f"{found.rule} {found.file}: {found.message}" for found in errors),
            fix=errors[0].fix or "correct the settings and convert again",
        )


def _result(
    job: ConversionJob,
    repository: Path,
    started: float,
    status: Literal["written", "unchanged", "planned"],
    files: Mapping[str, LockedFile],
    *,
    commands: tuple[str, ...] = (),
) -> ConvertResult:
    size = sum(file.size for file in files.values())
    if status == "planned" and any(not place.source for place in job.places):
        size += sum(file.size for file in job.checkpoint.files)
    image = job.builder.image(job.case.toolchain)
    return ConvertResult(
        name=job.recipe.name,
        status=status,
        repository=str(repository),
        source=job.case.spec.source,
        builder=job.builder.name,
        reason=job.reason,
        triton=job.case.toolchain.triton,
        image=image,
        files=files,
        entries=job.entries,
        bytes=size,
        seconds=round(time.monotonic() - started, 3),
        artifacts=job.states,
        commands=commands,
        warnings=(
            *warnings(job.case),
            *job.builder.warnings(job.case),
        ),
    )

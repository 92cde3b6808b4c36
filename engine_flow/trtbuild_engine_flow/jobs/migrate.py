"""Migrate a repository of the engine flow to the LLM API: read, map, convert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trtbuild import lockfile, toolchain
from trtbuild.errors import UsageError
from trtbuild.pipeline.convert import ConvertResult, convert
from trtbuild.progress import SILENT, Progress
from trtbuild.recipe import (
    DEFAULT_TRITON,
    ModelRecipe,
    merge_settings,
    model_from_flags,
    parse_settings,
)
from trtbuild_engine_flow.migration import (
    LegacyDeployment,
    deployments,
    left_behind,
    map_deployment,
)
from trtbuild_engine_flow.migration import Mapping as Account

BACKEND = "trtllm"


@dataclass(frozen=True, slots=True)
class Migrated:
    """One LLM: its old deployment, the mapping of its settings, and the conversion."""

    deployment: LegacyDeployment
    account: Account
    recipe: ModelRecipe
    result: ConvertResult


def migrate(
    repository: Path,
    out: Path,
    *,
    sources: Sequence[str] = (),
    name: str = "",
    settings: Sequence[str] = (),
    triton: str = DEFAULT_TRITON,
    dry_run: bool = False,
    force: bool = False,
    progress: Progress = SILENT,
) -> tuple[Migrated, ...]:
    """Write the LLM API's form of every engine-flow LLM of ``repository`` into ``out``.

    Args:
        repository: An ``inflight_batcher_llm``-style repository; it is only read.
        out: Another model repository.
        sources: Checkpoints: one for the only LLM, or ``ENTRY=CHECKPOINT`` for each. Left out,
            the lock's source or the tokenizer's directory is taken, if that is a checkpoint.
        name: The new model's name, when there is one; default the name that clients ask today.
        settings: ``key=value`` overrides of the mapping.
        triton: The release it is for.
        dry_run: Only report what would be written.
        force: As for :func:`convert`.

    Raises:
        UsageError: No such repository or model in it; no checkpoint for one; a release without
            the LLM API.
        RepositoryError: A configuration cannot be read.
        RecipeError, UnsupportedError, BuildError: As :func:`convert`.
    """
    _require_apart(repository, out)
    found = deployments(repository)
    if name and len(found) > 1:
        raise UsageError(
            f"--name is for one LLM, and {repository} has {len(found)}",
            fix="leave --name out: each keeps the name that clients ask",
        )
    release = _release(triton)
    chosen = _sources(repository, found, sources)
    given = parse_settings(settings)
    planned: list[tuple[LegacyDeployment, Account, ModelRecipe]] = []
    for deployment in found:
        account = map_deployment(deployment, release)
        recipe = model_from_flags(
            source=chosen[deployment.entry], name=name or deployment.entry, backend=BACKEND
        )
        recipe = recipe.model_copy(update={"engine": merge_settings(account.engine, given)})
        planned.append((deployment, account, recipe))

    def convert_to(recipe: ModelRecipe, dry: bool) -> ConvertResult:
        return convert(
            recipe, repository=out, triton=triton, progress=progress, force=force, dry_run=dry
        )

    if len(planned) > 1:  # report impossible migrations before the first is written
        for _, _, recipe in planned:
            convert_to(recipe, dry=True)
    return tuple(
        Migrated(deployment, account, recipe, convert_to(recipe, dry_run))
        for deployment, account, recipe in planned
    )


def left_out(repository: Path, results: Sequence[Migrated]) -> Mapping[str, str]:
    """Return the models of ``repository`` outside the migrated LLMs, with their backends."""
    return left_behind(repository, [one.deployment for one in results])


def _release(triton: str) -> toolchain.TrtllmRelease:
    """Return the LLM API of a Triton release; UsageError without a known one."""
    tools, versions = toolchain.load(triton), toolchain.trtllm_versions()
    if tools.trtllm in versions:
        return toolchain.trtllm_release(tools.trtllm)
    known = [row.triton for row in toolchain.releases() if row.trtllm in versions]
    of = f"TensorRT-LLM {tools.trtllm}, whose LLM API is not known here"
    raise UsageError(
        f"Triton {tools.triton} has {of if tools.trtllm else 'no TensorRT-LLM image'}",
        fix=f"migrate to one from --triton {known[-1]} to --triton {known[0]}",
    )


def _require_apart(repository: Path, out: Path) -> None:
    if repository.resolve() == out.resolve():
        raise UsageError(
            "the new repository would be the old one",
            where=str(out),
            fix="name another directory (--repo), and remove the old one when all is well",
        )


def _sources(
    repository: Path, deployments: Sequence[LegacyDeployment], sources: Sequence[str]
) -> dict[str, str]:
    """Return the checkpoint of every LLM, by its entry."""
    entries = {deployment.entry for deployment in deployments}
    chosen: dict[str, str] = {}
    for text in sources:
        entry, equals, source = text.partition("=")
        if equals and entry in entries:
            chosen[entry] = source
        elif len(deployments) == 1:
            chosen[deployments[0].entry] = text
        else:
            raise UsageError(
                f"--source {text!r} does not say for which of {', '.join(sorted(entries))}",
                fix="write --source NAME=CHECKPOINT",
            )
    for deployment in deployments:
        if deployment.entry not in chosen:
            chosen[deployment.entry] = _own_source(repository, deployment)
    return chosen


def _own_source(repository: Path, deployment: LegacyDeployment) -> str:
    for model in lockfile.read(repository).models.values():
        if deployment.entry in model.directories and model.source.kind in ("hub", "sample"):
            commit = f"@{model.source.commit}" if model.source.commit else ""
            return f"{model.source.text}{commit}"
    folder = Path(deployment.tokenizer_dir) if deployment.tokenizer_dir else None
    if folder and (folder / "config.json").is_file() and any(folder.glob("*.safetensors")):
        return str(folder)
    named = deployment.parameters.get("tokenizer_dir", "")
    hint = f"; its tokenizer is {named}" if named else ""
    raise UsageError(
        f"which checkpoint does {deployment.entry} serve? An engine does not say",
        where=str(repository / deployment.engine_model),
        fix=f"name it: --source CHECKPOINT (a hub id or a directory{hint})",
    )


def as_document(migrated: Migrated) -> Mapping[str, object]:
    """Return the mapping as ``--json`` prints it."""
    account = migrated.account
    return {
        "name": migrated.recipe.name,
        "from": list(migrated.deployment.models),
        "callers": migrated.deployment.callers,
        "source": migrated.recipe.source,
        "engine": dict(migrated.recipe.engine),
        "mapped": account.mapped,
        "not_needed": account.moot,
        "lost": account.lost,
        "tensors": account.tensors,
        "tensors_lost": account.tensors_lost,
        "status": migrated.result.status,
    }

"""One conversion before it is written: what is known, its digests, its key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trtbuild import __version__
from trtbuild.builder import Builder, Case
from trtbuild.checkpoint import Checkpoint, CheckpointFile, materialize
from trtbuild.errors import BuildError
from trtbuild.files import digest_all
from trtbuild.lockfile import LockedFile, LockedModel
from trtbuild.modelspec import ModelSpec
from trtbuild.pipeline.adapters import Adapter
from trtbuild.pipeline.engines import Conversion, Engine
from trtbuild.pipeline.rewriting import Rewritten
from trtbuild.plan import ENGINE, ModelEntry
from trtbuild.progress import Progress
from trtbuild.recipe import ModelRecipe
from trtbuild.repository import WeightFile
from trtbuild.toolchain import Toolchain

# Nobody rewrites a file of a download cache or of our own in place; people do with a folder.
_IMMUTABLE = {"hub", "gguf", "sample"}
_WEIGHTS = (".safetensors", ".bin", ".gguf", ".engine")
_KEY_VERSION = 1


@dataclass(frozen=True, slots=True)
class Job:
    """Everything known before the first byte is written."""

    recipe: ModelRecipe
    checkpoint: Checkpoint
    spec: ModelSpec
    tools: Toolchain
    builder: Builder
    reason: str
    entries: tuple[ModelEntry, ...]
    adapters: tuple[Adapter, ...]
    changed: Rewritten
    engine: Engine | None = None

    @property
    def case(self) -> Conversion:
        """What the conversion is of."""
        case = Case(self.spec, self.recipe, self.tools)
        return Conversion(self.builder, case, self.checkpoint)


def key_needs_files(job: Job) -> bool:
    """A hub checkpoint is known by its commit, others by the digests of their files."""
    local_adapter = any(adapter.ref.kind != "hub" for adapter in job.adapters)
    return job.spec.source.kind != "hub" or local_adapter or _places(job, ENGINE)


def _places(job: Job, origin: str) -> bool:
    return any(place.origin == origin for entry in job.entries for place in entry.weights)


Origins = Mapping[str, Sequence[tuple[CheckpointFile, str]]]


def digested_sources(job: Job, progress: Progress) -> Origins:
    """The files to place, with their digests, by origin (``""`` or an adapter's name)."""
    wanted = {place.origin for entry in job.entries for place in entry.weights}
    origins: dict[str, tuple[CheckpointFile, ...]] = {}
    if ENGINE in wanted and job.engine is not None:
        origins[ENGINE] = job.engine.files
    if "" in wanted:
        files = materialize(job.checkpoint, progress)
        origins[""] = tuple(file for file in files if file.name not in job.changed)
    for adapter in job.adapters:
        if adapter.name in wanted:
            origins[adapter.name] = adapter.fetch(progress)
    return {origin: _digested(files, progress) for origin, files in origins.items()}


def _digested(
    files: Sequence[CheckpointFile], progress: Progress
) -> list[tuple[CheckpointFile, str]]:
    paths = {file.name: _on_disk(file) for file in files}
    try:
        digests = digest_all(paths, progress)
    except OSError as error:
        raise BuildError(
            f"a checkpoint file cannot be read: {error.strerror or error}",
            where=str(error.filename or ""),
            fix="check its permissions and the disk",
        ) from error
    for file in files:
        if file.sha256 and file.sha256 != digests[file.name]:
            raise BuildError(
                f"{file.name} is damaged: its SHA-256 is not the one that the hub declares",
                where=str(file.path),
                fix="delete this file and convert again; it will be fetched anew",
            )
    return [(file, digests[file.name]) for file in files]


def _on_disk(file: CheckpointFile) -> Path:
    assert file.path is not None, f"{file.name} was not materialized"
    return file.path.resolve()


def weight_file(
    file: CheckpointFile, sha256: str, job: Job, link: bool, origin: str = ""
) -> WeightFile:
    path = _on_disk(file)
    # a person may edit a tokenizer's JSON, and must not thereby edit the download cache
    weights = file.name.endswith(_WEIGHTS)
    ours = job.spec.source.kind in _IMMUTABLE
    if origin == ENGINE:
        ours = job.engine is not None and job.engine.state == "compiled"
    may_link = weights and (link or ours)
    return WeightFile(file.name, path, sha256, path.stat().st_size, may_link)


def key_of(job: Job, origins: Origins) -> str:
    """The digest of everything that the result depends on."""
    contents = {
        f"{entry.name}/{file.path}": hashlib.sha256(file.content).hexdigest()
        for entry in job.entries
        for file in entry.files
    }
    places = [
        (entry.name, place.path, place.origin) for entry in job.entries for place in entry.weights
    ]
    parts = {
        "version": _KEY_VERSION,
        "trtbuild": __version__,
        "source": asdict(job.spec.source),
        "config": job.spec.config_digest,
        "adapters": {adapter.name: asdict(adapter.ref) for adapter in job.adapters},
        "files": {o: sorted((f.name, sha) for f, sha in files) for o, files in origins.items()},
        "settings": _settings(job.recipe),
        "toolchain": asdict(job.tools),
        "builder": job.builder.name,
        "contents": contents,
        "places": places,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _settings(recipe: ModelRecipe) -> dict[str, Any]:
    """The recipe as the lock has it, without what can be a path of this machine.

    Settings of one builder only are left out where they say nothing, so that a new one changes
    no other builder's key.
    """
    sometimes = {"build"} if recipe.build else set()
    return recipe.model_dump(
        mode="json", exclude={"source", "name", "adapters", "engine_dir", *sometimes}
    )


def locked_of(job: Job, key: str) -> LockedModel:
    tools, builder = job.tools, job.builder
    image = builder.image(tools)
    case = job.case.case
    return LockedModel(
        source=job.spec.source,
        builder=builder.name,
        triton=tools.triton,
        image=image,
        key=key,
        directories=tuple(entry.name for entry in job.entries),
        adapters={adapter.name: adapter.ref for adapter in job.adapters},
        versions={"trtbuild": __version__, **builder.versions(case)},
        settings=_settings(job.recipe),
        served=builder.signature(case),
    )


def generated(entries: Sequence[ModelEntry]) -> dict[str, LockedFile]:
    return {
        f"{entry.name}/{file.path}": LockedFile(
            hashlib.sha256(file.content).hexdigest(), len(file.content)
        )
        for entry in entries
        for file in entry.files
    }

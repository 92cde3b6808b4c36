"""One conversion before it is written: its settings, its digests, its key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trtbuild import __version__
from trtbuild.builder import Artifact, Builder, Case, MadeArtifact
from trtbuild.checkpoint import Adapter, Checkpoint, CheckpointFile, materialize
from trtbuild.errors import BuildError, UnsupportedError
from trtbuild.files import digest_all
from trtbuild.lockfile import LockedFile, LockedModel
from trtbuild.pipeline.asked import ASKED
from trtbuild.pipeline.rewriting import Rewritten
from trtbuild.plan import ModelEntry, RepoFile, WeightsDir
from trtbuild.progress import Progress
from trtbuild.recipe import ModelRecipe
from trtbuild.repository import WeightFile

# Files of the download cache and our own are never rewritten in place; a user's may be.
_IMMUTABLE = {"hub", "gguf", "sample"}
_WEIGHTS = (".safetensors", ".bin", ".gguf", ".engine", ".onnx", ".onnx.data")
_KEY_VERSION = 1


@dataclass(frozen=True, slots=True)
class ConversionJob:
    """Everything known before the first byte is written.

    ``changed`` replaces small files of the checkpoint by name; None leaves a file out.
    """

    case: Case
    builder: Builder
    reason: str
    checkpoint: Checkpoint
    adapters: tuple[Adapter, ...]
    changed: Rewritten
    artifacts: tuple[Artifact, ...]
    entries: tuple[ModelEntry, ...]

    @property
    def recipe(self) -> ModelRecipe:
        """The recipe."""
        return self.case.recipe

    @property
    def places(self) -> tuple[WeightsDir, ...]:
        """Everything to place besides generated files."""
        return tuple(place for entry in self.entries for place in entry.weights)

    @property
    def states(self) -> dict[str, str]:
        """By artifact: ``given``, ``made``, ``wanted`` (a dry run) or ``later``."""
        there = self.case.artifacts
        return {
            one.name: "made" if one.state == "wanted" and one.name in there else one.state
            for one in self.artifacts
        }


def entries_of(builder: Builder, case: Case, changed: Rewritten) -> tuple[ModelEntry, ...]:
    """Return the directories, with the rewritten small files wherever the checkpoint is placed."""
    kept = {name: content for name, content in changed.items() if content is not None}
    return tuple(
        replace(entry, files=(*entry.files, *_rewritten(entry, kept)))
        for entry in builder.models(case)
    )


def _rewritten(entry: ModelEntry, kept: Mapping[str, bytes]) -> Iterator[RepoFile]:
    for place in entry.weights:
        for name, content in kept.items() if not place.source else ():
            if new := place.name_of(name):
                yield RepoFile(f"{place.path}/{new}", content)


def key_needs_files(job: ConversionJob) -> bool:
    """Whether the key needs file digests: a hub checkpoint is identified by its commit."""
    local_adapter = any(adapter.ref.kind != "hub" for adapter in job.adapters)
    artifact = any(place.artifact for place in job.places)
    return job.case.spec.source.kind != "hub" or local_adapter or artifact


Origins = Mapping[str, Sequence[tuple[CheckpointFile, str]]]


def digested_sources(job: ConversionJob, progress: Progress) -> Origins:
    """Return the files to place, with their digests, by :attr:`WeightsDir.source`."""
    wanted = {place.source: place.artifact for place in job.places}
    origins: dict[str, tuple[CheckpointFile, ...]] = {}
    for source, artifact in wanted.items():
        if artifact:
            origins[source] = tuple(_files_of(job.case.artifacts[artifact]))
    if "" in wanted:
        files = materialize(job.checkpoint, progress)
        origins[""] = tuple(file for file in files if file.name not in job.changed)
    for adapter in job.adapters:
        if adapter.name in wanted:
            origins[adapter.name] = adapter.fetch(progress)
    _require_named(job, origins)
    return {source: _digested(files, progress) for source, files in origins.items()}


def _require_named(job: ConversionJob, origins: Mapping[str, Sequence[CheckpointFile]]) -> None:
    """Raise UnsupportedError if a builder places a file that is missing."""
    lacking = [
        name
        for place in job.places
        for name in place.files
        if name not in {*(file.name for file in origins[place.source]), *job.changed}
    ]
    if lacking:
        raise UnsupportedError(
            f"{job.builder.name} needs {lacking[0]}, which the checkpoint does not have",
            where=job.case.spec.source.text,
            details=tuple(lacking[1:]),
            fix="download the whole checkpoint, or report it to the builder's author",
        )


def _files_of(artifact: MadeArtifact) -> Iterator[CheckpointFile]:
    for name in artifact.files:
        path = artifact.folder / name
        yield CheckpointFile(name, path.stat().st_size, path)


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
                f"{file.name} is damaged: its SHA-256 differs from the hub's",
                where=str(file.path),
                fix="delete this file and convert again to download it again",
            )
    return [(file, digests[file.name]) for file in files]


def _on_disk(file: CheckpointFile) -> Path:
    assert file.path is not None, f"{file.name} was not materialized"
    return file.path.resolve()


def weight_file(
    file: CheckpointFile, sha256: str, job: ConversionJob, link: bool, source: str = ""
) -> WeightFile:
    path = _on_disk(file)
    # copied, because editing a tokenizer's JSON must not change the download cache
    weights = file.name.endswith(_WEIGHTS)
    ours = job.case.spec.source.kind in _IMMUTABLE
    states = {f"artifact {name}": state for name, state in job.states.items()}
    if source in states:
        ours = states[source] == "made"
    may_link = weights and (link or ours)
    status = path.stat()
    return WeightFile(file.name, path, sha256, status.st_size, may_link, status.st_mtime_ns)


def key_of(job: ConversionJob, origins: Origins) -> str:
    """Return the digest of everything that the result depends on."""
    contents = {
        f"{entry.name}/{file.path}": hashlib.sha256(file.content).hexdigest()
        for entry in job.entries
        for file in entry.files
    }
    places = [(entry.name, asdict(place)) for entry in job.entries for place in entry.weights]
    parts = {
        "version": _KEY_VERSION,
        "trtbuild": __version__,
        "source": asdict(job.case.spec.source),
        "config": job.case.spec.config_digest,
        "adapters": {adapter.name: asdict(adapter.ref) for adapter in job.adapters},
        "files": {o: sorted((f.name, sha) for f, sha in files) for o, files in origins.items()},
        "settings": _settings(job.recipe, job.builder),
        "toolchain": asdict(job.case.toolchain),
        "builder": job.builder.name,
        "contents": contents,
        "places": places,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _settings(recipe: ModelRecipe, builder: Builder) -> dict[str, Any]:
    """Return what the builder read of the recipe, without paths of this machine.

    ``build`` and ``contract`` are left out if they are empty.
    """
    whole = recipe.model_dump(mode="json")
    section = whole.pop("llm")
    flat = {**whole, **section}
    every = flat.keys() - {"source", "name", "adapters", "engine_dir"}
    unread = {*ASKED, "metrics", "health_check"} - builder.takes
    silent = ({"build"} if recipe.build else set()) | (set() if recipe.contract else {"contract"})
    return {key: flat[key] for key in sorted(every - unread - silent)}


def locked_of(job: ConversionJob, key: str) -> LockedModel:
    tools, builder = job.case.toolchain, job.builder
    image = builder.image(tools)
    return LockedModel(
        source=job.case.spec.source,
        builder=builder.name,
        triton=tools.triton,
        image=image,
        key=key,
        directories=tuple(entry.name for entry in job.entries),
        adapters={adapter.name: adapter.ref for adapter in job.adapters},
        versions={"trtbuild": __version__, **builder.versions(job.case)},
        settings=_settings(job.recipe, job.builder),
        served=builder.signature(job.case),
    )


def generated(entries: Sequence[ModelEntry]) -> dict[str, LockedFile]:
    return {
        f"{entry.name}/{file.path}": LockedFile(
            hashlib.sha256(file.content).hexdigest(), len(file.content)
        )
        for entry in entries
        for file in entry.files
    }

"""Build a builder's artifacts, or find them under their key."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from trtbuild import hardware
from trtbuild.builder import Artifact, Builder, Case, MadeArtifact, Workplace
from trtbuild.builder.artifacts import RECORD
from trtbuild.checkpoint import Checkpoint, CheckpointFile, materialize
from trtbuild.files import digest_all, disk_trouble, exclusive, staged_dir
from trtbuild.files.staging import write_synced
from trtbuild.hardware import DetectedGpu
from trtbuild.progress import Progress
from trtbuild.repository import say_source
from trtbuild.server import runtime

_SHORT = 16  # characters of the key in the directory's name


def make(
    artifact: Artifact,
    builder: Builder,
    case: Case,
    checkpoint: Checkpoint,
    *,
    root: Path,
    force: bool,
    progress: Progress,
) -> MadeArtifact:
    """Return the artifact under its key, and build it if it is missing.

    One process at a time builds artifacts of a model: a second one waits, and takes what the
    first built.

    Args:
        artifact: The artifact to build.
        builder: The builder that needs it.
        case: The conversion it is for.
        checkpoint: The checkpoint it is built from.
        root: The directory of all artifacts; this one goes into ``root/<model>/<key>``.
        force: Start even if memory seems too small.
        progress: Called with each step.

    Raises:
        BuildError: It cannot be built here, or the build failed. An older one stays.
        RepositoryError: The result is incomplete.
    """
    gpu = _gpu(artifact)
    artifact.require(gpu)
    files = materialize(checkpoint, progress)
    place = _workplace(artifact, builder, case, files, root=root, gpu=gpu)
    place = replace(place, force=force, progress=progress)
    if not intact(place.home, place.key):
        if artifact.environment:
            environment = runtime.install(artifact.environment, progress=progress)
            place = replace(place, python=environment.python)
        _make(artifact, case, place)
    return MadeArtifact(place.home, tuple(artifact.files(place.home)))


def possible(needed: Sequence[Artifact], progress: Progress) -> tuple[Artifact, ...]:
    """Return ``needed`` without the optional ones whose environment is not installed."""
    found = []
    for artifact in needed:
        environment = artifact.environment
        if artifact.optional and environment and not _is_ready(environment):
            progress.step(
                f"leaving out the artifact {artifact.name!r}: its environment is not installed "
                f"(trtbuild runtime install {environment})"
            )
            continue
        found.append(artifact)
    return tuple(found)


def _is_ready(environment: Literal["export"]) -> bool:
    (status,) = runtime.status((environment,))
    return status.state == "ready"


def commands(
    artifacts: Sequence[Artifact], builder: Builder, case: Case, checkpoint: Checkpoint, root: Path
) -> tuple[str, ...]:
    """Return the command lines that a build of the artifacts would run."""
    return tuple(
        shlex.join(line)
        for artifact in artifacts
        if artifact.there is None
        for line in artifact.commands(
            _workplace(artifact, builder, case, checkpoint.files, root=root, gpu=_gpu(artifact))
        )
    )


def intact(folder: Path, key: str) -> bool:
    """Whether ``folder`` holds the artifact of ``key`` with every file complete."""
    try:
        record: Any = json.loads((folder / RECORD).read_bytes())
        if record["key"] != key:
            return False
        sizes = record["files"].items()
        return all((folder / name).stat().st_size == size for name, size in sizes)
    except (OSError, ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return False


def _make(artifact: Artifact, case: Case, place: Workplace) -> None:
    parent = place.home.parent

    def waiting() -> None:
        name = case.recipe.name
        place.progress.step(f"waiting for another conversion that makes artifacts of {name}")

    with disk_trouble(parent):
        parent.mkdir(parents=True, exist_ok=True)
        with exclusive(parent, waiting=waiting):
            if intact(place.home, place.key) or artifact.make is None:
                return
            with staged_dir(place.home) as new:
                artifact.make(replace(place, out=new))
                write_synced(new / RECORD, _record(new, place.key))


def _record(folder: Path, key: str) -> bytes:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
    return (json.dumps({"key": key, "files": sizes}, indent=2, sort_keys=True) + "\n").encode()


def _gpu(artifact: Artifact) -> DetectedGpu | None:
    return next(iter(hardware.detect()), None) if artifact.on_gpu else None


def _workplace(
    artifact: Artifact,
    builder: Builder,
    case: Case,
    files: Sequence[CheckpointFile],
    *,
    root: Path,
    gpu: DetectedGpu | None,
) -> Workplace:
    key = _key(artifact, builder, case, files, gpu.sm if gpu else 0)
    home = root / case.recipe.name / key[:_SHORT]
    return Workplace(key, home, home, say_source(case.spec.source), tuple(files), gpu)


def _key(
    artifact: Artifact, builder: Builder, case: Case, files: Sequence[CheckpointFile], sm: int
) -> str:
    """Return the digest of everything that an artifact depends on."""
    source = case.spec.source
    there = {file.name: file.path for file in files if file.path is not None}
    parts = {
        "artifact": artifact.name,
        "builder": builder.name,
        "source": asdict(source),
        "config": case.spec.config_digest,
        # a hub checkpoint is identified by its commit
        "files": {} if source.kind == "hub" else digest_all(there),
        "depends": artifact.depends,
        "image": builder.image(case.toolchain),
        "sm": sm,
    }
    if artifact.environment:
        parts["environment"] = runtime.lock_digest(artifact.environment)
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()

"""From a repository and ``deploy.yaml`` to files, all of them or none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from trtbuild.errors import BuildError, UnsupportedError, UsageError
from trtbuild.files import scratch
from trtbuild_deploy.facts import Facts, read_facts
from trtbuild_deploy.jobs.manifest import (
    MANIFEST_NAME,
    Manifest,
    digest,
    manifest_bytes,
    manifest_of,
    read_manifest,
)
from trtbuild_deploy.settings import SETTINGS_NAME, Settings, load_settings
from trtbuild_deploy.target import OutputFile, Rendered, Target, example_of, find_target
from trtbuild_deploy.workload import require_sound

_WORKERS = "templates/workers.yaml"


@dataclass(frozen=True, slots=True)
class Deployment:
    """What would be written, and from what."""

    target: str
    facts: Facts
    settings: Settings
    rendered: Rendered

    @property
    def files(self) -> tuple[OutputFile, ...]:
        """Every file."""
        return self.rendered.files


def render(target: str, repository: Path, settings_file: Path | None) -> Deployment:
    """Make the files of a target; nothing is written.

    Raises:
        UsageError: No such target or repository.
        RecipeError: ``deploy.yaml`` contradicts itself or the repository.
        RepositoryError: The repository has no model or no lock.
        UnsupportedError: The target cannot deploy it; with every reason.
    """
    found = find_target(target)
    settings = load_settings(settings_file)
    facts = read_facts(repository, image=settings.image)
    require_sound(facts, settings, str(settings_file or SETTINGS_NAME))
    if reasons := tuple(found.reasons_against(facts, settings)):
        raise UnsupportedError(
            reasons[0] if len(reasons) == 1 else f"{target} cannot deploy this repository",
            where=facts.path,
            fix=_way_out(found, settings_file),
            details=reasons if len(reasons) > 1 else (),
        )
    made = found.render(facts, settings)
    if settings.worker.queue and not any(one.path.endswith(_WORKERS) for one in made.files):
        note = f"'worker' needs the Helm chart: the target {target} deploys no workers"
        made = replace(made, notes=(*made.notes, note))
    return Deployment(target, facts, settings, made)


def _way_out(target: Target, settings_file: Path | None) -> str:
    if settings_file is None and example_of(target):
        return f"write a deploy.yaml for -f; start from trtbuild deploy {target.name} --example"
    return f"change {settings_file or SETTINGS_NAME}, or choose another target"


def write(deployment: Deployment, out: Path, *, force: bool = False) -> None:
    """Write the files into ``out``; whatever else lies there stays.

    All are written beside their places before the first is moved there, the manifest last: a run
    that was killed in between is completed by the next one.

    Raises:
        UsageError: ``out`` lies in the repository, or something in it leads elsewhere; without
            ``force`` also where another target's files are there, or one that was edited by hand
            or is not ours.
        BuildError: The disk refuses.
    """
    manifest = manifest_of(deployment.target, deployment.facts.digest, deployment.files)
    _require_place(out, Path(deployment.facts.path))
    before = read_manifest(out)
    _require_directories(out, {*before.files, *manifest.files})
    if not force:
        _require_target(out, before, manifest)
        _require_untouched(out, before, manifest)
    last = OutputFile(MANIFEST_NAME, manifest_bytes(manifest))
    try:
        out.mkdir(parents=True, exist_ok=True)
        with scratch(out, "deploy") as folder:
            for file in (*deployment.files, last):
                _write(folder / file.path, file.content)
            for path in set(before.files) - set(manifest.files):
                (out / path).unlink(missing_ok=True)
            for file in (*deployment.files, last):
                (out / file.path).parent.mkdir(parents=True, exist_ok=True)
                (folder / file.path).replace(out / file.path)
    except OSError as error:
        raise BuildError(
            f"the files cannot be written: {error.strerror or error}",
            where=str(error.filename or out),
            fix="make room, or name another directory with -o",
        ) from None


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _require_place(out: Path, repository: Path) -> None:
    try:
        place = out.resolve()
        is_other = (out.is_symlink() or place.exists()) and not place.is_dir()
    except (OSError, RuntimeError) as error:  # too long a name, or a link to itself
        said = getattr(error, "strerror", None) or error
        raise UsageError(
            f"{str(out)!r} cannot be a directory: {said}", fix="name another one with -o"
        ) from None
    if is_other:
        raise UsageError(f"{str(out)!r} is not a directory", fix="name a directory with -o")
    if place.is_relative_to(repository):
        raise UsageError(
            f"{str(out)!r} lies in the model repository, where every directory is a model",
            fix="name a directory beside it with -o",
        )


def _require_directories(out: Path, paths: Iterable[str]) -> None:
    """A link would be followed out of the directory, and a file stop the writing halfway."""
    folders = {folder for path in paths for folder in PurePosixPath(path).parents}
    for folder in sorted(folders - {PurePosixPath()}):
        place = out / folder
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            raise UsageError(
                f"{str(place)!r} must be a directory of its own, not a link or a file",
                fix="remove it, or name another directory with -o",
            )


def _require_target(out: Path, before: Manifest, after: Manifest) -> None:
    if before.target not in ("", after.target):
        raise UsageError(
            f"{str(out)!r} has the files of the target {before.target}, which would be removed",
            fix="name another directory with -o, or replace them with --force",
        )


def _require_untouched(out: Path, before: Manifest, after: Manifest) -> None:
    paths = sorted({*before.files, *after.files})
    touched = [path for path in paths if not _may_write(path, out, before, after)]
    if touched:
        raise UsageError(
            f"{len(touched)} {'file was' if len(touched) == 1 else 'files were'} not written by "
            f"trtbuild as {'it is' if len(touched) == 1 else 'they are'}",
            where=str(out),
            fix="`trtbuild deploy diff` shows the edits: move them into deploy.yaml, or overwrite "
            "them with --force",
            details=tuple(touched),
        )


def _may_write(path: str, out: Path, before: Manifest, after: Manifest) -> bool:
    """Whether a file is not there, is as we wrote it, or already what will be written."""
    place = out / path
    if not place.exists():
        return True
    found = digest(place.read_bytes()) if place.is_file() else ""
    return found in (before.files.get(path), after.files.get(path))

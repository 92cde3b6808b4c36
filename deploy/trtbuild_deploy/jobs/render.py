"""From a repository and ``deploy.yaml`` to files, all of them or none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trtbuild.errors import BuildError, UnsupportedError, UsageError
from trtbuild.files import staged_dir
from trtbuild_deploy.facts import Facts, read_facts
from trtbuild_deploy.jobs.manifest import (
    MANIFEST_NAME,
    Manifest,
    digest,
    edited,
    manifest_bytes,
    manifest_of,
    read_manifest,
)
from trtbuild_deploy.settings import Settings, load_settings
from trtbuild_deploy.target import OutputFile, Rendered, find_target
from trtbuild_deploy.workload import require_sound


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
    facts = read_facts(repository, image=settings.image, exit_seconds=settings.server.exit_timeout)
    require_sound(facts, settings)
    if reasons := tuple(found.reasons_against(facts, settings)):
        raise UnsupportedError(
            reasons[0] if len(reasons) == 1 else f"{target} cannot deploy this repository",
            where=facts.path,
            fix="change deploy.yaml, or choose another target",
            details=reasons if len(reasons) > 1 else (),
        )
    return Deployment(target, facts, settings, found.render(facts, settings))


def write(deployment: Deployment, out: Path, *, force: bool = False) -> None:
    """Write the files into ``out``; whatever else lies there stays.

    Raises:
        UsageError: A file there was edited by hand, or is not ours, and ``force`` is off.
        BuildError: The disk refuses.
    """
    manifest = manifest_of(deployment.target, deployment.facts.digest, deployment.files)
    before = read_manifest(out)
    if not force:
        _require_untouched(out, before, manifest)
    try:
        with staged_dir(out) as folder:
            _keep(out, before, folder)
            for file in deployment.files:
                path = folder / file.path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.content)
            (folder / MANIFEST_NAME).write_bytes(manifest_bytes(manifest))
    except OSError as error:
        raise BuildError(
            f"the files cannot be written: {error.strerror or error}",
            where=str(error.filename or out),
            fix="make room, or name another directory with -o",
        ) from None


def _require_untouched(out: Path, before: Manifest, after: Manifest) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"{str(out)!r} is not a directory", fix="name a directory with -o")
    touched = dict.fromkeys([*edited(out, before), *_foreign(out, before, after)])
    if touched:
        raise UsageError(
            f"{len(touched)} {'file was' if len(touched) == 1 else 'files were'} not written by "
            f"trtbuild as {'it is' if len(touched) == 1 else 'they are'}",
            where=str(out),
            fix="`trtbuild deploy diff` shows the edits: move them into deploy.yaml, or overwrite "
            "them with --force",
            details=tuple(touched),
        )


def _foreign(out: Path, before: Manifest, after: Manifest) -> Iterator[str]:
    """Files of somebody else in places that we want; the same content is no loss."""
    for path, sha256 in after.files.items():
        place = out / path
        if path not in before.files and place.is_file() and digest(place.read_bytes()) != sha256:
            yield path


def _keep(out: Path, before: Manifest, folder: Path) -> None:
    """Copy what is not ours into the new directory."""
    if not out.is_dir():
        return
    ours = {*before.files, MANIFEST_NAME}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if name not in ours and (path.is_file() or path.is_symlink()):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, folder / name, follow_symlinks=False)

"""Write one conversion atomically: its directories, its weights, its lock entry."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from trtbuild import pbtxt
from trtbuild.errors import BuildError, UsageError
from trtbuild.files import (
    DigestCache,
    clone_file,
    clone_needs_space,
    disk_trouble,
    require_space,
)
from trtbuild.files.staging import write_synced
from trtbuild.lockfile import Lock, LockedFile, LockedModel
from trtbuild.modelspec import SourceRef
from trtbuild.plan import ModelEntry, WeightsDir
from trtbuild.progress import SILENT, Progress, counted
from trtbuild.recipe import check_model_name
from trtbuild.repository.changes import Transaction, transaction
from trtbuild.signature import ServedModel, describe

_SMALL_BYTES = 16 << 20
"""Files above this are weights: a changed one is never somebody's edit."""


@dataclass(frozen=True, slots=True)
class WeightFile:
    """A checkpoint file to place: its name, its path, its digest.

    ``link`` allows both names to share an inode, for sources that are never rewritten in place.
    ``modified`` is the file's time in nanoseconds when it had this digest; 0: unknown.
    """

    name: str
    path: Path
    sha256: str
    size: int
    link: bool
    modified: int = 0


Weights = Mapping[str, Sequence[WeightFile]]
"""Files by :attr:`~trtbuild.plan.WeightsDir.source`; ``""`` is the model's own checkpoint."""

Check = Callable[[Path, Lock], None]
"""Looks at a directory that holds the new directories, and raises if Triton would refuse them."""


def write_model(
    repository: Path,
    name: str,
    entries: Sequence[ModelEntry],
    weights: Weights,
    model: LockedModel,
    *,
    check: Check = lambda _folder, _lock: None,
    force: bool = False,
    progress: Progress = SILENT,
) -> LockedModel:
    """Write the directories of one conversion and record it under ``name``.

    Older directories of that name are replaced atomically; until then, and after any error or
    Ctrl-C, the repository is unchanged.

    Args:
        model: What to record; its ``directories`` and ``files`` are filled in here, and in
            ``served`` what the written files define.
        check: Called with the prepared directory before anything is put in place.
        force: Replace a model of another source, a foreign directory, files changed by hand.

    Raises:
        UsageError: The name is taken, or files were changed by hand, and not ``force``.
        BuildError: The disk is full or broken, or an entry's path leads out of its directory.
    """
    model = replace(model, directories=tuple(entry.name for entry in entries))
    with transaction(repository, progress) as change:
        require_free(repository, change.lock, name, model, force=force)
        needed = _space_needed(entries, weights, change.staging)
        require_space(
            change.repository,
            needed,
            fix="free space there, choose another disk (--repo), or leave the weights in the "
            "Hugging Face cache (--weights hub); nothing was changed",
        )
        files: dict[str, LockedFile] = {}
        for entry in entries:
            check_model_name(entry.name)
            files.update(_prepare(change, entry, weights, progress))
        model = replace(
            model, files=dict(sorted(files.items())), served=_card(change.new, name, model)
        )
        check(change.new, Lock({name: model}))
        older = change.lock.models.get(name)
        stale = set(older.directories) - set(model.directories) if older else set()
        with disk_trouble(repository):
            change.commit(change.lock.with_model(name, model), remove=tuple(sorted(stale)))
    return model


def require_free(
    repository: Path, lock: Lock, name: str, model: LockedModel, *, force: bool = False
) -> None:
    """Raise UsageError if writing ``model`` as ``name`` would overwrite something else.

    That is a model of another source, a directory of another conversion, a directory not written
    by trtbuild, or a generated file changed by hand.
    """
    if force:
        return
    older = lock.models.get(name)
    if older and (older.source.kind, older.source.text) != (model.source.kind, model.source.text):
        raise UsageError(
            f"{name!r} is already the name of a model made from {say_source(older.source)}; "
            f"this one is {say_source(model.source)}",
            where=str(repository / name),
            fix="give the new one another name (--name NAME), or replace the old one (--force)",
        )
    for directory in model.directories:
        _require_ours(repository, lock, name, directory)
    changed = changed_by_hand(repository, older) if older else ()
    if changed:
        raise UsageError(
            f"{name!r} was changed by hand since it was converted",
            where=str(repository),
            details=tuple(f"{path} differs from what was written" for path in changed),
            fix="make the change in the recipe or with --set and add --force to overwrite it, "
            "or convert under another name (--name NAME)",
        )


def _require_ours(repository: Path, lock: Lock, name: str, directory: str) -> None:
    owner = lock.owner(directory)
    if owner == name or not os.path.lexists(repository / directory):
        return
    what = f"belongs to the model {owner!r}" if owner else "was not written by trtbuild"
    raise UsageError(
        f"the directory {directory!r} already exists and {what}",
        where=str(repository / directory),
        fix="choose another name (--name NAME), or replace the directory (--force)",
    )


def changed_by_hand(repository: Path, model: LockedModel) -> tuple[str, ...]:
    """Return the small files of a model that differ from what was written."""
    small = {path: file for path, file in model.files.items() if file.size < _SMALL_BYTES}
    return tuple(path for path, file in small.items() if _differs(repository / path, file))


def intact(repository: Path, model: LockedModel) -> bool:
    """Whether every file of a model exists with the right size and, if small, the right bytes."""
    for path, file in model.files.items():
        try:
            size = (repository / path).stat().st_size
        except OSError:
            return False
        if size != file.size:
            return False
    return not changed_by_hand(repository, model)


def _differs(path: Path, file: LockedFile) -> bool:
    try:
        content = path.read_bytes() if path.stat().st_size < _SMALL_BYTES else b""
    except OSError:
        return False  # missing, so no edits would be lost
    return hashlib.sha256(content).hexdigest() != file.sha256


def say_source(source: SourceRef) -> str:
    """Return a readable source: ``org/model@revision (hub)``, ``my-folder (local)``."""
    revision = source.revision or source.commit[:12]
    text = f"{source.text}@{revision}" if revision else source.text
    return f"{text} ({source.kind})"


def _card(repository: Path, name: str, model: LockedModel) -> ServedModel | None:
    """Return the description for the lock, without tensors, which are in config.pbtxt."""
    served = describe(repository, name, pbtxt.configs(repository), model.served)
    return replace(served, inputs=(), outputs=()) if served else None


def _space_needed(entries: Sequence[ModelEntry], weights: Weights, folder: Path) -> int:
    needed = 0
    for entry in entries:
        needed += sum(len(file.content) for file in entry.files)
        for place in entry.weights:
            files = [file for file in weights[place.source] if place.name_of(file.name)]
            needed += sum(clone_needs_space(f.path, folder, link=f.link) for f in files)
    return needed


def _prepare(
    change: Transaction, entry: ModelEntry, weights: Weights, progress: Progress
) -> dict[str, LockedFile]:
    """Fill one directory of the staging area; return its files by path in the repository."""
    folder = change.new / entry.name
    folder.mkdir()
    written: dict[str, LockedFile] = {}
    for file in entry.files:
        path = _inside(folder, file.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_synced(path, file.content)
        sha256 = hashlib.sha256(file.content).hexdigest()
        written[f"{entry.name}/{file.path}"] = LockedFile(sha256, len(file.content))
    for place in entry.weights:
        placed = _place_weights(folder, place, weights[place.source], progress)
        written.update({f"{entry.name}/{path}": file for path, file in placed.items()})
    return written


def _place_weights(
    folder: Path, place: WeightsDir, files: Sequence[WeightFile], progress: Progress
) -> dict[str, LockedFile]:
    placed = {f"{place.path}/{new}": file for file in files if (new := place.name_of(file.name))}
    progress.step(f"placing {counted(len(placed), 'file')} in {folder.name}/{place.path}")
    total = sum(file.size for file in placed.values())
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress.advance(done, total)

    cache = DigestCache()
    for name, file in placed.items():
        path = _inside(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        clone_file(file.path, path, link=file.link, advance=advance)
        copied, now = path.stat(), file.path.stat().st_mtime_ns
        if copied.st_size != file.size or (file.modified and file.modified != now):
            raise BuildError(
                f"{file.name} changed during the copy",
                where=str(file.path),
                fix="wait until the checkpoint is complete, then convert again",
            )
        cache.put(copied, file.sha256)
    cache.save()
    return {name: LockedFile(file.sha256, file.size) for name, file in placed.items()}


def _inside(folder: Path, relative: str) -> Path:
    """Return ``folder / relative``; BuildError if that is not below ``folder``."""
    pure = PurePosixPath(relative)
    if pure.is_absolute() or ".." in pure.parts or "\\" in relative or not pure.parts:
        raise BuildError(
            f"a model file may not be placed at {relative!r}, outside its directory",
            where=folder.name,
            fix="this is a bug of the builder or of the checkpoint: report it to its author",
        )
    return folder.joinpath(*pure.parts)

"""List the models of a repository, and remove a model."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

from trtbuild import lockfile, pbtxt
from trtbuild.errors import UsageError
from trtbuild.files import disk_trouble
from trtbuild.lockfile import Lock
from trtbuild.progress import SILENT, Progress
from trtbuild.repository.changes import transaction
from trtbuild.repository.write import say_source


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """One model of a repository. ``bytes`` counts every file of its directories.

    A model not written by trtbuild has no source, release or image; ``problem`` says why its
    configuration could not be read.
    """

    name: str
    backend: str
    source: str
    commit: str
    triton: str
    image: str
    directories: tuple[str, ...]
    bytes: int
    locked: bool
    problem: str = ""


def require_repository(repository: Path) -> Path:
    """Return ``repository`` if it is a directory, else raise UsageError."""
    if repository.is_dir():
        return repository
    what = "is not a directory" if repository.exists() else "does not exist"
    raise UsageError(
        f"the model repository {str(repository)!r} {what}",
        fix="name an existing one, or create it: trtbuild convert SOURCE",
    )


def list_models(repository: Path) -> tuple[ModelSummary, ...]:
    """Return every model of a repository by name, written by trtbuild or not.

    Raises:
        UsageError: There is no such directory.
        RepositoryError: Its lock file is damaged.
    """
    lock = lockfile.read(require_repository(repository))
    ours = [_locked(repository, lock, name) for name in lock.models]
    folders = sorted(path for path in repository.iterdir() if path.is_dir())
    others = [_foreign(path) for path in folders if not lock.owner(path.name)]
    return tuple(sorted([*ours, *others], key=lambda summary: summary.name))


def _locked(repository: Path, lock: Lock, name: str) -> ModelSummary:
    model = lock.models[name]
    gone = [folder for folder in model.directories if not (repository / folder).is_dir()]
    return ModelSummary(
        name=name,
        backend=model.builder,
        source=say_source(model.source),
        commit=model.source.commit,
        triton=model.triton,
        image=model.image,
        directories=model.directories,
        bytes=sum(_bytes(repository / folder) for folder in model.directories),
        locked=True,
        problem=f"its directory {gone[0]!r} is gone" if gone else "",
    )


def _foreign(folder: Path) -> ModelSummary:
    backend, problem = "", ""
    try:
        config = pbtxt.read(folder / "config.pbtxt")
        backend = str(config.backend or config.platform)
    except FileNotFoundError:
        problem = "it has no config.pbtxt"
    except (OSError, UnicodeDecodeError, pbtxt.PbtxtError) as error:
        problem = f"its config.pbtxt cannot be read: {error}"
    return ModelSummary(
        folder.name, backend, "", "", "", "", (folder.name,), _bytes(folder), False, problem
    )


def _bytes(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            total += path.stat().st_size if path.exists() else 0
    return total


def remove(repository: Path, name: str, *, progress: Progress = SILENT) -> tuple[str, ...]:
    """Remove a model and its lock entry atomically; return its directories.

    A directory not written by trtbuild is also removed if ``name`` is exactly its name.

    Raises:
        UsageError: There is no such model.
        BuildError: The disk is read-only or broken.
    """
    require_repository(repository)
    with transaction(repository, progress) as change:
        model = change.lock.models.get(name)
        owner = change.lock.owner(name)
        if model is None and owner:
            raise UsageError(
                f"{name!r} is part of the model {owner!r} and cannot be removed alone",
                fix=f"remove the whole model: trtbuild remove {owner}",
            )
        folder = repository / name
        if model is None and (name not in _names(repository) or not folder.is_dir()):
            raise unknown_model(repository, change.lock, name)
        directories = model.directories if model else (name,)
        with disk_trouble(repository):
            change.commit(change.lock.without(name), remove=directories)
    return directories


def unknown_model(repository: Path, lock: Lock, name: str) -> UsageError:
    """Return the error for an unknown name, with the most similar known one."""
    known = sorted({*lock.models, *_names(repository)})
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        fix = f"did you mean {near[0]!r}?"
    else:
        fix = f"it has {', '.join(known)}" if known else "it is empty: trtbuild convert SOURCE"
    return UsageError(f"there is no model {name!r} in {str(repository)!r}", fix=fix)


def _names(repository: Path) -> set[str]:
    return {path.name for path in repository.iterdir() if path.is_dir()}

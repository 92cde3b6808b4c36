"""Lock: the repository holds what was written into it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from trtbuild.check.context import Model, Repository
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import MODEL_PY
from trtbuild.check.model import Severity
from trtbuild.files import digest_all
from trtbuild.lockfile import LOCK_NAME, Lock, LockedFile, LockedModel, render
from trtbuild.modelspec import SourceRef


def _lock(path: str) -> bytes:
    """A lock file for examples, of one model with one file."""
    name = path.partition("/")[0]
    digest = hashlib.sha256(MODEL_PY.encode()).hexdigest()
    model = LockedModel(
        SourceRef("hub", "org/name"),
        "vllm",
        "26.07",
        "",
        "",
        (name,),
        files={path: LockedFile(digest, len(MODEL_PY))},
    )
    return render(Lock({name: model}))


_LOCK = _lock("m/1/model.py")
_LOCK_OF_OTHER = _lock("other/1/model.py")
_AGAIN = "convert the model again, or restore the file"


@rule(
    "TRT901",
    "the lock file can be read",
    fix="restore it from version control, or convert the models again",
    scope="repository",
    bad={"trtbuild.lock": "{"},
    good={"trtbuild.lock": None},
)
def readable(repository: Repository) -> Problems:
    """Without it the origin of the models is unknown."""
    if repository.lock_problem:
        yield Problem(repository.lock_problem, file=LOCK_NAME)


@rule(
    "TRT902",
    "every file of the lock exists, with its size",
    fix=_AGAIN,
    scope="repository",
    bad={"m/1/gone.safetensors": None, "trtbuild.lock": _lock("m/1/gone.safetensors")},
    good={"m/1/model.py": MODEL_PY, "trtbuild.lock": _LOCK},
)
def nothing_missing(repository: Repository) -> Problems:
    """A missing or truncated file means an unfinished copy."""
    for directory, path, locked in _locked(repository):
        file = repository.root / path
        try:
            size = file.stat().st_size
        except OSError:
            yield Problem(f"{path} is missing", file=path, model=directory)
            continue
        if size != locked.size and _is_weight(path):
            message = f"{path} has {size:,} bytes; {locked.size:,} were written"
            yield Problem(message, file=path, model=directory)


@rule(
    "TRT903",
    "every file has the bytes that were written",
    fix=_AGAIN,
    scope="repository",
    bad={"m/1/model.py": "# edited\n" + MODEL_PY, "trtbuild.lock": _LOCK},
    good={"m/1/model.py": MODEL_PY, "trtbuild.lock": _LOCK},
)
def nothing_changed(repository: Repository) -> Problems:
    """A changed weight file is damaged. A changed setting may be intended; then it belongs in
    the recipe, because the next conversion refuses to overwrite it."""
    known = {path: (model, locked) for model, path, locked in _locked(repository)}
    paths = {p: repository.root / p for p in known if _same_size(repository.root / p, known[p][1])}
    digests = digest_all(paths, repository.progress, fresh=repository.options.full)
    for path, (directory, locked) in known.items():
        edited = not _is_weight(path) and (repository.root / path).is_file() and path not in digests
        if edited or (path in digests and digests[path] != locked.sha256):
            yield Problem(
                f"{path} was changed",
                file=path,
                model=directory,
                severity=Severity.ERROR if _is_weight(path) else Severity.WARNING,
            )


@rule(
    "TRT904",
    "no file was added",
    fix="remove it, or convert again with --force",
    severity=Severity.WARNING,
    scope="repository",
    bad={"m/1/notes.txt": "", "trtbuild.lock": _LOCK},
    good={"m/1/model.py": MODEL_PY, "trtbuild.lock": None},
)
def nothing_added(repository: Repository) -> Problems:
    """A file that no conversion wrote. What Python compiles when a server runs is not counted."""
    known = {path for _, path, _ in _locked(repository)}
    for directory in sorted({path.partition("/")[0] for path in known}):
        for root, _, names in os.walk(repository.root / directory):
            compiled = Path(root).name == "__pycache__"
            for name in sorted(names):
                path = Path(os.path.relpath(Path(root, name), repository.root)).as_posix()
                if path not in known and not (compiled and name.endswith(".pyc")):
                    yield Problem(f"{path} was added", file=path, model=directory)


@rule(
    "TRT905",
    "the lock knows the model",
    fix="no change is needed if it was not made with trtbuild",
    severity=Severity.INFO,
    needs_config=False,
    bad={"trtbuild.lock": _LOCK_OF_OTHER},
    good={"m/1/model.py": MODEL_PY, "trtbuild.lock": _LOCK},
)
def known_model(model: Model) -> Problems:
    """A model that trtbuild did not write has no recorded state to compare with."""
    if model.repository.lock.models and not model.repository.lock.owner(model.name):
        yield Problem(f"{model.name!r} is not in {LOCK_NAME}", file="")


@rule(
    "TRT906",
    "every model of the lock exists",
    fix="convert it again, or remove its entry: trtbuild remove NAME",
    severity=Severity.WARNING,
    scope="repository",
    bad={"trtbuild.lock": _LOCK_OF_OTHER},
    good={"m/1/model.py": MODEL_PY, "trtbuild.lock": _LOCK},
)
def model_is_there(repository: Repository) -> Problems:
    """Its directory was deleted by other means than trtbuild."""
    for name, model in repository.lock.models.items():
        for directory in model.directories:
            if _wanted(repository, directory) and not (repository.root / directory).is_dir():
                yield Problem(
                    f"the directory {directory!r} of {name!r} does not exist",
                    file=LOCK_NAME,
                    model=directory,
                    fix=f"convert it again, or remove its entry: trtbuild remove {name}",
                )


def _locked(repository: Repository) -> Iterator[tuple[str, str, LockedFile]]:
    """``(directory, path, file)`` of every locked file whose directory is there."""
    for model in repository.lock.models.values():
        for path, file in model.files.items():
            directory = path.partition("/")[0]
            inside = not Path(path).is_absolute() and ".." not in path.split("/")
            if not inside or not _wanted(repository, directory):
                continue
            if (repository.root / directory).is_dir():
                yield directory, path, file


def _wanted(repository: Repository, directory: str) -> bool:
    only = repository.only
    return not only or directory in (only, *_directories(repository, only))


def _directories(repository: Repository, name: str) -> tuple[str, ...]:
    model = repository.lock.models.get(name)
    return model.directories if model else ()


def _same_size(path: Path, locked: LockedFile) -> bool:
    try:
        return path.is_file() and path.stat().st_size == locked.size
    except OSError:
        return False


def _is_weight(path: str) -> bool:
    """Whether nobody edits such a file by hand."""
    return path.endswith((".safetensors", ".bin", ".gguf", ".model"))

"""``trtbuild.lock``: what each model of a repository was made from, and every byte of it.

The file lies at the root of the repository, where Triton ignores files. It is JSON with sorted
keys, so that it can be committed and read in a diff, and it holds no path of the machine that
wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from trtbuild.errors import RepositoryError
from trtbuild.files import atomic_write, require_regular
from trtbuild.modelspec import SourceRef
from trtbuild.signature import ServedModel

LOCK_NAME = "trtbuild.lock"
LOCK_VERSION = 1


@dataclass(frozen=True, slots=True)
class LockedFile:
    """A file as it was written: SHA-256 in hex and size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class LockedModel:
    """One conversion.

    Attributes:
        source: The checkpoint.
        adapters: LoRA adapters by name.
        builder: The builder's name.
        triton: The Triton release it was written for.
        image: The container image that serves it.
        versions: Version by program (``trtbuild``, ``vllm``).
        settings: The recipe as given, without sources.
        key: Digest of everything the result depends on; equal keys mean nothing to do.
        directories: Its directories in the repository, the model's own first.
        files: By path relative to the repository, with ``/``.
        served: The model that clients call, as the conversion made it; its tensors are left to
            config.pbtxt.
    """

    source: SourceRef
    builder: str
    triton: str
    image: str
    key: str
    directories: tuple[str, ...]
    adapters: Mapping[str, SourceRef] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, LockedFile] = field(default_factory=dict)
    served: ServedModel | None = None


@dataclass(frozen=True, slots=True)
class Lock:
    """The models of a repository that trtbuild wrote, by name."""

    models: Mapping[str, LockedModel] = field(default_factory=dict)

    def owner(self, directory: str) -> str:
        """The model whose conversion wrote ``directory``, empty if none did."""
        for name, model in self.models.items():
            if directory in model.directories:
                return name
        return ""

    def card(self, name: str) -> ServedModel | None:
        """What the conversion of ``name`` wrote of how it is called; None if none did."""
        return self.models[name].served if name in self.models else None

    def with_model(self, name: str, model: LockedModel) -> Lock:
        """A lock with ``name`` added or replaced."""
        return replace(self, models={**self.models, name: model})

    def without(self, name: str) -> Lock:
        """A lock without ``name``."""
        return replace(self, models={k: v for k, v in self.models.items() if k != name})


def read(repository: Path) -> Lock:
    """The lock of a repository, empty when there is none; RepositoryError if it is damaged."""
    path = repository / LOCK_NAME
    try:
        require_regular(path)
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Lock()
    except OSError as error:
        raise _damaged(path, f"it cannot be read: {error.strerror}") from None
    return parse(content, path)


def parse(content: bytes, path: Path) -> Lock:
    """A lock from its bytes; ``path`` is for the error's sake."""
    try:
        document = json.loads(content)
    except json.JSONDecodeError as error:
        raise _damaged(path, f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (ValueError, RecursionError) as error:  # bytes, or a number of 4301 digits
        raise _damaged(path, f"it is not JSON text ({type(error).__name__})") from None
    version = document.get("version") if isinstance(document, dict) else None
    if version != LOCK_VERSION:
        raise _damaged(
            path,
            f"version {version!r} is not supported; this trtbuild reads version {LOCK_VERSION}",
        )
    try:
        models = {name: _model(entry) for name, entry in document["models"].items()}
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise _damaged(path, f"an entry has no valid {error}") from None
    return Lock(models)


def write(repository: Path, lock: Lock) -> None:
    """Write the lock atomically. Raises OSError."""
    atomic_write(repository / LOCK_NAME, render(lock))


def render(lock: Lock) -> bytes:
    """The bytes of a lock: the same lock gives the same bytes on every machine."""
    models = {name: asdict(model) for name, model in lock.models.items()}
    for model in models.values():
        if (served := model["served"]) and served["vision"] is None:
            del served["vision"]  # most models take no images, and older locks have no such key
    document = {"version": LOCK_VERSION, "models": models}
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, default=list)
    return (text + "\n").encode()


def _model(entry: Mapping[str, Any]) -> LockedModel:
    return LockedModel(
        source=SourceRef(**entry["source"]),
        adapters={name: SourceRef(**ref) for name, ref in entry["adapters"].items()},
        builder=str(entry["builder"]),
        triton=str(entry["triton"]),
        image=str(entry["image"]),
        versions={str(k): str(v) for k, v in entry["versions"].items()},
        settings=dict(entry["settings"]),
        key=str(entry["key"]),
        directories=tuple(str(name) for name in entry["directories"]),
        files={path: _file(record) for path, record in entry["files"].items()},
        served=ServedModel.from_dict(entry["served"]) if entry.get("served") else None,
    )


def _file(record: Mapping[str, Any]) -> LockedFile:
    return LockedFile(sha256=str(record["sha256"]), size=int(record["size"]))


def _damaged(path: Path, why: str) -> RepositoryError:
    return RepositoryError(
        f"{LOCK_NAME} is damaged: {why}",
        where=str(path),
        fix="restore it from version control, or delete it and convert the models again "
        "with --force",
    )

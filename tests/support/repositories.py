"""Entries for repositories, and what stands beside one."""

from __future__ import annotations

from pathlib import Path

from trtbuild.lockfile import LockedModel
from trtbuild.modelspec import SourceRef
from trtbuild.plan import ModelEntry, RepoFile, WeightsDir

MODEL = LockedModel(SourceRef("local", "llama"), "vllm", "26.07", "image", "key", ())


def entry(name: str = "m", text: bytes = b"one", weights: bool = False) -> ModelEntry:
    """A model of two small files, whose configuration is no more than ``text``."""
    places = (WeightsDir("1/weights"),) if weights else ()
    return ModelEntry(name, (RepoFile("config.pbtxt", text), RepoFile("1/x/y", b"")), places)


def beside(repo: Path) -> list[str]:
    """Names of what stands in the directory of a repository but itself."""
    return sorted(path.name for path in repo.parent.iterdir() if path != repo)

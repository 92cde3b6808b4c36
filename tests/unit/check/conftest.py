"""Repositories to validate."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.checkpoints import make_llama
from support.places import places
from trtbuild.pipeline.convert import convert
from trtbuild.recipe import ModelRecipe


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """An empty repository."""
    folder = tmp_path / "repo"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one converted model of two shards."""
    folder = tmp_path_factory.mktemp("converted")
    make_llama(folder / "llama", sharded=True)
    with places(folder):
        convert(ModelRecipe(source=str(folder / "llama"), name="bot"), repository=folder / "repo")
    shutil.rmtree(folder / "llama")
    return folder / "repo"


@pytest.fixture
def bot(converted: Path, tmp_path: Path) -> Path:
    """A copy of it to break."""
    return Path(shutil.copytree(converted, tmp_path / "bots"))

"""The description of a model from the files of its repository."""

from __future__ import annotations

from pathlib import Path

from trtbuild import lockfile, pbtxt
from trtbuild.errors import RepositoryError
from trtbuild.signature import ServedModel, describe


def served_model(repository: Path, name: str) -> ServedModel | None:
    """Describe the model ``name`` from its config.pbtxt, its engine's arguments and the lock; None
    if its config.pbtxt is unreadable. A damaged lock is ignored: validation reports it."""
    try:
        card = lockfile.read(repository).card(name)
    except RepositoryError:
        card = None
    return describe(repository, name, pbtxt.configs(repository), card)

"""Where trtbuild keeps things while a test runs: never where its user keeps them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest


def move_places(patch: pytest.MonkeyPatch, home: Path, *, cache: bool = True) -> None:
    """State and, if asked for, cache lie under ``home`` until ``patch`` is undone."""
    if cache:
        patch.setenv("TRTBUILD_CACHE_DIR", str(home / "cache"))
    patch.setenv("TRTBUILD_STATE_DIR", str(home / "state"))


@contextlib.contextmanager
def places(home: Path) -> Iterator[Path]:
    """Cache, state and current directory under ``home``: for fixtures that outlive a test."""
    with pytest.MonkeyPatch.context() as patch:
        move_places(patch, home)
        patch.chdir(home)
        yield home

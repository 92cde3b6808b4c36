"""Paths that begin with a home directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.command_line import trtbuild
from trtbuild import resources
from trtbuild.checkpoint.source import parse_source
from trtbuild.errors import UsageError

NOBODY = "~nobody-there/x"


def test_a_path_below_a_home_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resources.expanded("~/x") == tmp_path / "x"
    assert resources.expanded(Path("x/~")) == Path("x/~")


@pytest.mark.parametrize(
    "ask",
    [
        lambda: parse_source(NOBODY),
        lambda: resources.cache_dir("x"),
        lambda: resources.state_dir("x"),
    ],
    ids=["source", "cache", "state"],
)
def test_the_home_of_nobody_is_a_usage_error(
    ask: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRTBUILD_CACHE_DIR", NOBODY)
    monkeypatch.setenv("TRTBUILD_STATE_DIR", NOBODY)
    with pytest.raises(UsageError, match="no known home directory for '~nobody-there/x"):
        ask()


def test_a_command_says_so() -> None:
    done = trtbuild("inspect", NOBODY)
    assert done.returncode == 2, done.stderr
    assert "no known home directory" in done.stderr and "fix: write the whole path" in done.stderr

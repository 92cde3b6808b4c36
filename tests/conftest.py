"""Fixtures for every test: places of its own, and the embedded runtime once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from support.places import move_places
from trtbuild.server import runtime as runtimes

# Whoever starts the tests with nohup or in the background of a script has SIGINT ignored, and so
# would have every program that a test starts and sends Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long one example takes depends on the machine's other work.
settings.register_profile("trtbuild", deadline=None)
settings.load_profile("trtbuild")

SERVER_TESTS = Path(__file__).parent / "server"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The directory of a test says whether it needs a server."""
    for item in items:
        if item.path.is_relative_to(SERVER_TESTS):
            item.add_marker(pytest.mark.server)


@pytest.fixture(autouse=True)
def home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own cache, state and current directory; it sees nothing of its user's.

    Tests that need a server or a download keep the user's cache: it holds gigabytes.
    """
    found = tmp_path.with_name(f"{tmp_path.name}-home")
    marks = {mark.name for mark in request.node.iter_markers()}
    move_places(monkeypatch, found, cache=marks.isdisjoint({"server", "network"}))
    monkeypatch.chdir(tmp_path)
    return found


@pytest.fixture
def cache_dir(home: Path) -> Path:
    return home / "cache"


@pytest.fixture
def state_dir(home: Path) -> Path:
    return home / "state"


@pytest.fixture(scope="session")
def runtime() -> Iterator[runtimes.Runtime]:
    """The embedded runtime of the cache, installed when it is missing."""
    yield runtimes.ensure()

"""Fixtures for every test: a state folder of its own, and the embedded runtime once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from trtbuild.server import runtime as runtimes

# Whoever starts the tests with nohup or in the background of a script has SIGINT ignored, and so
# would have every program that a test starts and sends Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long one example takes says something of the machine's other work, and nothing of us.
settings.register_profile("trtbuild", deadline=None)
settings.load_profile("trtbuild")


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees, stops or sweeps the servers of the person who runs it."""
    folder = tmp_path / "trtbuild-state"
    monkeypatch.setenv("TRTBUILD_STATE_DIR", str(folder))
    return folder


@pytest.fixture(scope="session")
def runtime() -> Iterator[runtimes.Runtime]:
    """The embedded runtime of the cache, installed when it is missing."""
    yield runtimes.ensure()

"""Fixtures for every test: places of its own, and the embedded runtime once."""

from __future__ import annotations

import gc
import itertools
import os
import re
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.internal.conjecture import providers

from support.command_line import keep_commands
from support.lanes import NIGHTLY
from support.paths import ROOT, TESTS
from support.places import move_places
from support.workers import report_less
from trtbuild.server import runtime as runtimes

# Whoever starts the tests with nohup or in the background of a script has SIGINT ignored, and so
# would have every program that a test starts and sends Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long one example takes depends on the machine's other work.
settings.register_profile("trtbuild", deadline=None)
settings.load_profile("trtbuild")
# Each test has its own current directory, where Hypothesis would keep its examples.
set_hypothesis_home_dir(ROOT / ".hypothesis")

SERVER_TESTS = TESTS / "server"

# The workers use all cores; threads of NumPy's that wait for one another would take them away. Not
# OMP_NUM_THREADS, which PyTorch in a server that a test starts would obey, too.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# No test loses power, and waiting for the disk would be a tenth of the time.
os.fsync = lambda fd: None

# Typer takes 5 to 50 ms to read the options of a command, and the tests call it 2,000 times.
keep_commands()

# Hypothesis also tries the constants of the modules in use. To read them from a thousand modules
# takes each worker most of a second; only the long runs of the night do.
if not NIGHTLY:
    providers._get_local_constants = lambda: providers._local_constants

# The garbage collector would look at every collected test again and again: a tenth of the CPU time.
gc.disable()


def pytest_configure(config: pytest.Config) -> None:
    """Spare the processes that run the tests what nobody reads."""
    report_less(config)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Half as many again as cores: tests wait for programs, timers and sockets."""
    cores = len(os.sched_getaffinity(0))
    return cores + cores // 2


def pytest_collection_finish() -> None:
    """From now on only what the tests make can be garbage."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The directory of a test says whether it needs a server, and its lane whether it runs."""
    for item in items:
        if item.path.is_relative_to(SERVER_TESTS):
            item.add_marker(pytest.mark.server)
        if item.get_closest_marker("nightly"):
            item.add_marker(pytest.mark.long)
    later = [item for item in items if item.get_closest_marker("nightly") and not NIGHTLY]
    if later:
        config.hook.pytest_deselected(items=later)
        items[:] = [item for item in items if item not in set(later)]


_connect = socket.socket.connect


def _connect_here(self: socket.socket, address: Any) -> None:
    """Fail a test that leaves this machine without the mark ``network``."""
    local = self.family == socket.AF_UNIX or address[0] in ("localhost", "0.0.0.0", "::1")
    if not (local or address[0].startswith("127.")):
        pytest.fail(f"a test connects to {address}; play the server, or mark it `network`")
    _connect(self, address)


_numbers = itertools.count()


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the homes of the tests lie; ``empty`` is the current directory of most."""
    found = tmp_path_factory.mktemp("homes")
    (found / "empty").mkdir()
    return found


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of the test's own; pytest looks for a free number among thousands each time."""
    name = re.sub(r"\W", "_", request.node.name)[:30]
    return tmp_path_factory.mktemp(f"{name}-{next(_numbers)}", numbered=False)


@pytest.fixture(autouse=True)
def home(
    request: pytest.FixtureRequest, homes: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The test's own cache, state and current directory; it sees nothing of its user's.

    Tests that need a server or a download keep the user's cache: it holds gigabytes. The current
    directory is ``tmp_path`` for those that ask for it, and must stay empty for the others: making
    a directory for each of thousands of tests costs more than most of them.
    """
    found, empty = homes / str(next(_numbers)), homes / "empty"
    marks = {mark.name for mark in request.node.iter_markers()}
    alone = marks.isdisjoint({"server", "network"})
    move_places(monkeypatch, found, cache=alone)
    if alone:
        monkeypatch.setattr(socket.socket, "connect", _connect_here)
    own = "tmp_path" in request.fixturenames
    monkeypatch.chdir(request.getfixturevalue("tmp_path") if own else empty)
    yield found
    if not own and (left := os.listdir(empty)):  # noqa: PTH208 - three times as fast as Path
        shutil.rmtree(empty)
        empty.mkdir()
        pytest.fail(f"the test leaves {left} in its current directory; let it ask for tmp_path")


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

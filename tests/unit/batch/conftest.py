"""One server for the tests of batch jobs, and the command that asks it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.batch_server import BatchServer, batch_server, fine, vector_of
from support.command_line import trtbuild


@pytest.fixture(scope="session")
def _shared() -> Iterator[BatchServer]:
    with batch_server() as found:
        yield found


@pytest.fixture
def server(_shared: BatchServer) -> BatchServer:
    """The server as new."""
    _shared.decide, _shared.metrics, _shared.models = fine, "", ("m",)
    _shared.asked, _shared.bodies, _shared.most = Counter(), [], 0
    _shared.vector = vector_of
    _shared.heads, _shared.holds = [], True
    return _shared


Run = Callable[..., Any]


@pytest.fixture
def run(server: BatchServer, tmp_path: Path) -> Run:
    """``trtbuild batch run INPUT -o out --target …`` with more arguments."""

    def call(*arguments: object, out: object = "out", model: str = "m") -> Any:
        given = ["batch", "run", *arguments, "-o", out, "--target", server.url]
        return trtbuild(*given, *(["--model", model] if model else []), cwd=tmp_path)

    return call

"""A repository on the real embedded server, with stand-ins for TensorRT-LLM."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from support.triton import title
from support.waiting import runs, wait_for_end
from trtbuild import server
from trtbuild.client import LLMClient, Sampling
from trtbuild.pipeline import serve
from trtbuild.pipeline.ports import choose_ports
from trtbuild.server import LaunchOptions, ServerHandle


@contextlib.contextmanager
def rehearsing(
    repo: Path,
    work: Path,
    checkpoints: Mapping[str, str] | None = None,
    *,
    validate: bool = True,
    killed: bool = False,
    timeout: float = 300,
) -> Iterator[ServerHandle]:
    """What ``trtbuild serve --rehearse`` starts, ready; ended with the block.

    ``work`` holds its records and its log; ``checkpoints`` are sources by model. It must be alive
    at the end, unless ``killed`` by the test.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRTBUILD_STATE_DIR", str(work / "state"))
        ports = choose_ports("auto", host="127.0.0.1", http=None, grpc=None, metrics=None)
        serving = serve.prepare(
            repo,
            options=LaunchOptions(ports=ports),
            validate=validate,
            rehearse=True,
            checkpoints=checkpoints,
        )
        found = serve.start(serving, timeout=timeout)
    try:
        yield found
        if not killed:
            _say_why_it_died(found)
    finally:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRTBUILD_STATE_DIR", str(work / "state"))
            server.stop(found, deadline=30)


def _say_why_it_died(served: ServerHandle) -> None:
    """Raise with the end of its log: the tests only saw "connection refused"."""
    if served.health == "dead":
        lines = Path(served.log_path).read_text(errors="replace").splitlines()
        raise AssertionError("\n".join(["the server died:", *lines[-60:]]))


def kill_and_look(pid: int, grpc_url: str, model: str) -> None:
    """Kill a server in the middle of an answer; nothing that it started may be left.

    It stays a zombie, as in a container without an init: its stubs take it to be alive.
    """
    server = psutil.Process(pid)
    running = [server, *server.children(recursive=True)]
    assert any("EngineCore" in process.name() for process in running)
    with LLMClient(grpc_url) as client:
        long = Sampling(max_tokens=100, temperature=0, ignore_eos=True)
        next(iter(client.generate(model, "Once upon a time", long)))
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(AssertionError):
        wait_for_end(running)
    assert [title(process) for process in running if runs(process)] == []

"""The naive baseline as a target: started for a benchmark, stopped after it."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from trtbuild import process
from trtbuild.errors import BenchError
from trtbuild.progress import SILENT, Progress
from trtbuild.server import runtime
from trtbuild.wire.blocking import fetch
from trtbuild.wire.failures import WireError
from trtbuild_measure.bench.targets import Address
from trtbuild_measure.resources import template_dir

_START_SECONDS = 300.0
_STOP_SECONDS = 5.0
NAME = "baseline"


@contextlib.contextmanager
def running(
    address: Address,
    checkpoint: Path,
    *,
    dtype: str,
    batch: int,
    threads: int = 0,
    progress: Progress = SILENT,
) -> Iterator[Address]:
    """Yield the address of a running service of ``checkpoint``.

    Raises:
        BenchError: It does not start; the error has the last lines of its output.
    """
    progress.step(f"starting {address.name}")
    found = runtime.ensure(progress)
    (port,) = process.free_ports(1)
    mark = uuid.uuid4().hex
    argv = [
        str(found.python), str(template_dir("baseline", "service.py")),
        "--model", str(checkpoint), "--name", NAME, "--port", str(port), "--dtype", dtype,
        "--batch", str(batch), "--threads", str(threads),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="trtbuild-baseline-") as folder:
        log = Path(folder) / "service.log"
        pid = process.spawn(argv, mark=mark, env=_environment(), log_path=log)
        started = process.start_time(pid)
        try:
            with process.Guard.over(pid, started, mark, seconds=_STOP_SECONDS):
                _wait(port, pid, started, log)
                yield replace(address, url=f"http://127.0.0.1:{port}/v1", model=NAME)
        finally:
            process.terminate(pid, started, mark, deadline=_STOP_SECONDS)


def _environment() -> Mapping[str, str]:
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    return {**quiet, "PYTHONPATH": "", "PYTHONUNBUFFERED": "1", "LC_ALL": _locale()}


def _locale() -> str:
    return os.environ.get("LC_ALL") or "C.UTF-8"


def _wait(port: int, pid: int, started: float, log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    url = f"http://127.0.0.1:{port}/v1/models"
    while time.monotonic() < until:
        with contextlib.suppress(WireError):
            if fetch(url, seconds=2).good:
                return
        if not process.is_alive(pid, started):
            break
        time.sleep(0.2)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    raise BenchError(
        "the baseline service did not start",
        where=lines[-1] if lines else f"no answer at {url}",
        details=tuple(lines[-8:-1]),
        fix="`trtbuild doctor` checks the runtime; --checkpoint must be a causal language model",
    )

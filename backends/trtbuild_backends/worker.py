"""One worker: the process that runs one model, and the stream by which it is known to live."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trtbuild import process
from trtbuild.wire.failures import WireError
from trtbuild.wire.triton_http import TritonHttp
from trtbuild_backends.runner import start
from trtbuild_backends.runner.serving import LIFE

_SILENT_SECONDS = 4.0  # a worker sends its state every second
_ENDING_SECONDS = 0.5
_POLL_SECONDS = 0.02
_STOP_SECONDS = 12.0  # the runner's own limit for unloading, and a little
_FOR_EVER = 10 * 365 * 86400.0
_LOG_LINES = 12

_PASSED = frozenset(
    (
        "PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "USER", "LD_LIBRARY_PATH", "HTTP_PROXY",
        "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "XDG_CACHE_HOME",
    )
)  # fmt: skip
_PASSED_PREFIXES = (
    "LC_", "CUDA_", "NVIDIA_", "NCCL_", "HF_", "TRANSFORMERS_", "TORCH_", "PYTORCH_", "VLLM_",
    "OMP_", "MKL_", "SGLANG_",
)  # fmt: skip
_HUB_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_SECRET_ENDINGS = ("KEY", "TOKEN", "SECRET", "PASSWORD")
_NO_HUB_TOKEN = {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}  # nor the one of `hf auth login`


def environment(given: Mapping[str, str], *, token: bool) -> dict[str, str]:
    """Return the variables of a worker: those that frameworks read, and no secret of ours.

    Args:
        given: Those of its model, which come first.
        token: Whether it may use the token of the Hugging Face hub.
    """
    own = {
        name: value
        for name, value in os.environ.items()
        if (name.upper() in _PASSED or name.startswith(_PASSED_PREFIXES))
        and not name.upper().endswith(_SECRET_ENDINGS)
    }
    if token:
        own |= {name: os.environ[name] for name in _HUB_TOKENS if name in os.environ}
    else:
        own |= _NO_HUB_TOKEN
    return {**own, "PYTHONUNBUFFERED": "1", **given}


@dataclass(frozen=True)
class Launch:
    """How to start a worker.

    Attributes:
        python: The interpreter of its environment.
        backend_class: ``package.module:Class``.
        model: The fields of a :class:`~trtbuild_backends.backend.ModelSource`.
        variables: Its environment.
        folder: A private directory for its socket and settings.
        log: The file of its output.
    """

    python: Path
    backend_class: str
    model: Mapping[str, Any]
    variables: Mapping[str, str]
    folder: Path
    log: Path


class WorkerError(Exception):
    """A worker that ended, hangs, or could not load its model."""


@dataclass
class Worker:
    """A running worker.

    Attributes:
        pid: Of its first process.
        socket: Where it listens.
        state: What it last said of itself.
    """

    launch: Launch
    pid: int
    started: float
    mark: str
    socket: Path
    state: Mapping[str, Any] = field(default_factory=dict)
    _reading: asyncio.Task[None] | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def start(cls, launch: Launch) -> Worker:
        """Start the process.

        Raises:
            OSError: It cannot be started.
        """
        mark = uuid.uuid4().hex
        socket = launch.folder / f"{mark[:12]}.sock"
        settings = socket.with_suffix(".json")
        settings.write_text(
            json.dumps(
                {
                    "model": dict(launch.model),
                    "backend_class": launch.backend_class,
                    "socket": str(socket),
                }
            ),
            encoding="utf-8",
        )
        launch.log.parent.mkdir(parents=True, exist_ok=True)
        pid = process.spawn(
            [str(launch.python), "-I", str(start.__file__), str(settings)],
            mark=mark,
            env=launch.variables,
            log_path=launch.log,
            inherit=False,
        )
        return cls(launch, pid, process.start_time(pid), mark, socket)

    async def loaded(self, seconds: float) -> None:
        """Wait until the model is loaded.

        Raises:
            WorkerError: It ended, or took too long.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._listens()
                while (state := await self._next(silent=None))["state"] != "ready":
                    if state["state"] == "failed":
                        raise WorkerError(str(state["reason"]))
        except TimeoutError:
            raise WorkerError(f"the model was not loaded within {seconds:g} s") from None

    async def lived(self) -> str:
        """Follow the worker until it ends, hangs or reports that it cannot answer; return why."""
        try:
            while (state := await self._next(silent=_SILENT_SECONDS))["state"] == "ready":
                pass
        except WorkerError as error:
            return str(error)
        return f"it reports: {state['reason']}"

    async def idle(self) -> None:
        """Wait until it has no requests; WorkerError if it ends first."""
        while (await self._next(silent=_SILENT_SECONDS)).get("requests"):
            pass

    def stop(self, *, at_once: bool = False) -> None:
        """End the process and everything that it has started; blocks for up to 17 s."""
        process.terminate(
            self.pid, self.started, self.mark, deadline=0 if at_once else _STOP_SECONDS
        )
        for path in (self.socket, self.socket.with_suffix(".json")):
            path.unlink(missing_ok=True)

    async def leave(self) -> None:
        """Close the stream of its states, which ends the worker."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def log_tail(self) -> str:
        """Return the last lines of its output."""
        with contextlib.suppress(OSError):
            lines = self.launch.log.read_bytes()[-8192:].decode("utf-8", "replace").splitlines()
            return "\n".join(lines[-_LOG_LINES:])
        return ""

    async def _listens(self) -> None:
        while not self.socket.exists():
            if not process.is_alive(self.pid, self.started):
                raise WorkerError(self._ended())
            await asyncio.sleep(_POLL_SECONDS)

    async def _next(self, *, silent: float | None) -> Mapping[str, Any]:
        """Return what the worker says of itself next; WorkerError if it says nothing."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        news = self._news
        try:
            async with asyncio.timeout(silent):
                if not self._reading.done():
                    await news.wait()
        except TimeoutError:
            if silent is None:
                raise
            raise WorkerError(f"it hangs: it has said nothing for {silent:g} s") from None
        if self._reading.done():
            await asyncio.to_thread(self._collect)
            raise WorkerError(self._ended())
        return self.state

    async def _read(self) -> None:
        """Take what it says until it stops. A task of its own: whoever waits may give up."""
        try:
            async with TritonHttp(f"unix:{self.socket}") as wire:
                async for event in wire.events("GET", LIFE, seconds=_FOR_EVER):
                    self.state = json.loads(event)
                    self._tell()
        except (WireError, ValueError):
            return
        finally:
            asyncio.get_running_loop().call_soon(self._tell)  # once this task is done

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _collect(self) -> None:
        """Give a process that has closed its stream a moment to end, for its exit code."""
        until = time.monotonic() + _ENDING_SECONDS
        while process.is_alive(self.pid, self.started) and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)

    def _ended(self) -> str:
        code = process.exit_status(self.pid)
        if code is None:
            return "it closed its socket"
        return f"it was ended by signal {-code}" if code < 0 else f"it ended with exit code {code}"

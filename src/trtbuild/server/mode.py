"""The interface between launching and the three modes of running a server."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from trtbuild.container import is_secret
from trtbuild.progress import Progress
from trtbuild.server.contents import Contents
from trtbuild.server.rehearsal import Rehearsal

SHM_PREFIX = "trtbuild_"


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of a server."""

    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """How to start a server, in any mode.

    Attributes:
        host: The address that its ports listen on; the loopback by default.
        gpus: ``all``, ``none``, or indexes such as ``0,1`` (docker mode).
        shm_size: Shared memory of the container (docker mode).
        env: Environment variables for the server, over the defaults of the mode.
        image: Container image, over the one of the lock file.
        exit_seconds: How long the server waits for requests in flight when it exits.
        auto_complete: Let the server complete incomplete configurations.
        arguments: More arguments for ``tritonserver``.
        torch_index: See :func:`trtbuild.server.runtime.ensure`.
        rehearsal: Run stand-ins for TensorRT-LLM (embedded mode only).
        launch: How the ranks of TensorRT-LLM are started, see :mod:`trtbuild.server.ranks`.
        gpu_count: GPUs that the server will see; 0: none, or unknown.
        short_lived: The server ends after a few answers, so readiness matters more than speed:
            models are not compiled (embedded mode).
        echo: Backends for which an echo of their models' tensors stands in (embedded mode).
    """

    host: str = "127.0.0.1"
    ports: Ports = field(default_factory=Ports)
    gpus: str = "all"
    shm_size: str = "2g"
    env: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    exit_seconds: int = 30
    auto_complete: bool = False
    arguments: tuple[str, ...] = ()
    torch_index: str = ""
    rehearsal: Rehearsal | None = None
    short_lived: bool = False
    echo: tuple[str, ...] = ()
    launch: str = "auto"
    gpu_count: int = 0


@dataclass(frozen=True, slots=True)
class ServerJob:
    """One server to start: repository, options, id, and the directory for its files."""

    id: str
    contents: Contents
    options: LaunchOptions
    folder: Path
    progress: Progress
    dry_run: bool = False

    @property
    def shm_prefix(self) -> str:
        """The prefix of its shared memory files."""
        return f"{SHM_PREFIX}{self.id}_"


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """The command of a server. ``env`` is added to ours and never stored."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    container: str = ""
    tool: str = ""


class Mode(Protocol):
    """A mode of running a server, implemented by modules of this package."""

    def unavailable(self) -> str:
        """Return why this machine cannot use the mode; ``""`` if it can."""

    def command(self, job: ServerJob) -> ServerCommand:
        """Return what to run. A dry run writes nothing. Raises if the server cannot start."""


def server_arguments(
    job: ServerJob, repository: str, *, host: str, ports: Ports
) -> tuple[str, ...]:
    """Return the arguments of ``tritonserver`` that all modes share."""
    options = job.options
    control = ("--model-control-mode=explicit", "--load-model=*")
    return (
        f"--model-repository={repository}",
        *(f"--{name}-address={host}" for name in ("http", "grpc", "metrics")),
        f"--http-port={ports.http}",
        f"--grpc-port={ports.grpc}",
        f"--metrics-port={ports.metrics}",
        f"--exit-timeout-secs={options.exit_seconds}",
        *(() if options.auto_complete else ("--disable-auto-complete-config",)),
        # Without explicit control the server would stay ready over a dead engine.
        *(control if job.contents.health_checked else ()),
        "--exit-on-error=true",
        "--strict-readiness=true",
        *options.arguments,
    )


def shell_line(command: ServerCommand) -> str:
    """Return a command to paste into a shell; secrets stay references to variables."""
    words = [f"{name}={_shown(name, value)}" for name, value in command.env.items()]
    return " ".join([*words, *(shlex.quote(word) for word in command.argv)])


def _shown(name: str, value: str) -> str:
    if is_secret(name):
        return f'"${name}"'
    ours, path, rest = value.rpartition(":" + os.environ.get("PATH", "\0"))
    if name == "PATH" and path and not rest:
        return f'{shlex.quote(ours)}:"$PATH"'
    return shlex.quote(value)

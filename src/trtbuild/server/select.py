"""Choose the mode of running a server."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from trtbuild.errors import ServerError, UsageError
from trtbuild.server import docker, embedded, local
from trtbuild.server.handle import ModeName
from trtbuild.server.mode import Mode

MODES: Mapping[ModeName, Mode] = {"local": local, "embedded": embedded, "docker": docker}


@dataclass(frozen=True, slots=True)
class Choice:
    """A mode, with the reason for it."""

    mode: ModeName
    why: str


def choose(mode: str, *, has_gpu: bool) -> Choice:
    """Return the requested mode, or for ``auto`` the first that this machine supports.

    A server on PATH comes first: it means that trtbuild runs inside NVIDIA's container. Then a
    container, with an engine and a GPU; then the embedded server.

    Raises:
        UsageError: No such mode.
        ServerError: For ``auto``: none is possible; the error has all the reasons.
    """
    for name in MODES:
        if mode == name:
            return Choice(name, "asked for")
    if mode != "auto":
        raise UsageError(f"unknown mode {mode!r}", fix="use --mode auto, local, embedded or docker")
    if found := shutil.which("tritonserver"):
        return Choice("local", f"there is a tritonserver on PATH ({found})")
    no_container = docker.unavailable() or ("" if has_gpu else "there is no GPU")
    if not no_container:
        return Choice("docker", f"{docker.engine()} answers and there is a GPU")
    if reason := embedded.unavailable():
        raise ServerError(
            "no Triton server can run on this machine",
            fix="serve on another machine (docker run, see `trtbuild serve --mode docker "
            "--dry-run`); everything but serving works here",
            details=("no tritonserver is on PATH", no_container, reason),
        )
    return Choice("embedded", f"no tritonserver on PATH, and {no_container}")

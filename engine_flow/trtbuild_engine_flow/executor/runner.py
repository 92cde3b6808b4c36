"""Runners for NVIDIA's tools: in a container, or natively if they are on PATH."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trtbuild import process
from trtbuild.errors import BuildError
from trtbuild.server import docker
from trtbuild_engine_flow.resources import template_dir

TOOL = "trtllm-build"
_SCRIPT = "/trtbuild/in_container.py"


@dataclass(frozen=True, slots=True)
class Runner:
    """A way to run ``in_container.py``. ``tool`` is docker, podman or empty for native."""

    tool: str
    image: str

    def command(
        self, name: str, arguments: Sequence[str], places: Mapping[str, tuple[Path, bool]]
    ) -> tuple[str, ...]:
        """The command line of one step.

        Args:
            name: The container's.
            arguments: Of ``in_container.py``; ``{place}`` in them becomes the place's path.
            places: By name: a path on this machine, and whether the step writes there.
        """
        script = template_dir("trtllm_engine") / "in_container.py"
        if not self.tool:
            paths = {place: str(path) for place, (path, _) in places.items()}
            return (_interpreter(), str(script), *_filled(arguments, paths))
        paths = {place: f"/build/{place}" for place in places}
        argv = [self.tool, "run", "--name", name, *self._gpus(), *self._user()]
        argv += ["--ipc=host", "--ulimit", "memlock=-1", "--ulimit", "stack=67108864"]
        argv += ["--network=none", "-e", "HOME=/tmp", *process.mount(script, _SCRIPT)]
        for place, (path, written) in places.items():
            argv += process.mount(path.absolute(), paths[place], written=written)
        return (*argv, self.image, "python3", _SCRIPT, *_filled(arguments, paths))

    def killed_for_memory(self, name: str, code: int) -> bool:
        """Whether a step that ended with ``code`` was killed because memory ran out."""
        if not self.tool:
            return code in {-9, 137}
        shown = process.run([self.tool, "inspect", "-f", "{{.State.OOMKilled}}", name], timeout=20)
        return code == 137 or shown.stdout.strip() == "true"

    def clean(self, name: str) -> None:
        """Remove what a step leaves behind; a step that is already gone is fine."""
        if self.tool:
            process.run([self.tool, "rm", "-f", name], timeout=60)

    def _gpus(self) -> list[str]:
        if self.tool == "podman":
            return ["--device", "nvidia.com/gpu=all"]
        return ["--gpus", "all"]

    def _user(self) -> list[str]:
        """Rootless podman maps us to its root; docker's root would own what it writes here."""
        return ["--user", f"{os.getuid()}:{os.getgid()}"] if self.tool == "docker" else []


def _interpreter() -> str:
    """The Python that ``trtllm-build`` runs in, which knows its release; else ours."""
    found = shutil.which(TOOL)
    try:
        with Path(found or "").open("rb") as script:
            first = script.readline(500).decode("utf-8", "replace")
    except OSError:
        return sys.executable
    python = first.removeprefix("#!").strip()
    return python if first.startswith("#!/") and Path(python).is_file() else sys.executable


def _filled(arguments: Sequence[str], paths: Mapping[str, str]) -> list[str]:
    words = list(arguments)
    for place, path in paths.items():
        words = [word.replace(f"{{{place}}}", path) for word in words]
    return words


def find_runner(image: str) -> Runner:
    """Return the native runner if ``trtllm-build`` is on PATH, else a running container engine.

    Raises:
        BuildError: There is neither.
    """
    if shutil.which(TOOL):
        return Runner("", "")
    if tool := docker.engine():
        return Runner(tool, image)
    raise BuildError(
        f"no engine can be compiled here: {TOOL} is not on PATH, and {docker.unavailable()}",
        fix=f"install or start docker, or join its group; or work inside {image}, write all but "
        "the engine (--no-build) and build it elsewhere, or give one that you built (--engine DIR)",
    )


def stand_in(image: str) -> Runner:
    """Return the runner for a dry run, whether it is running or not."""
    if shutil.which(TOOL):
        return Runner("", "")
    return Runner(
        "docker" if shutil.which("docker") or not shutil.which("podman") else "podman", image
    )

"""What this machine can do, and a fix for each thing that it cannot.

Each check is a small function that looks at one thing and changes nothing.
"""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trtbuild import hardware, process
from trtbuild.errors import UnsupportedError
from trtbuild.resources import cache_dir
from trtbuild.server import runtime
from trtbuild.signature.dialects import installed

_GIB = 2**30
# The runtime takes 2.5 GB on disk, its downloads and a small model about as much again.
_DISK_WANTED = 8 * _GIB
# Each Python instance of Triton wants 64 MiB of shared memory, vLLM's message queues more.
_SHM_WANTED = 1 * _GIB
_PORTS = (8000, 8001, 8002)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report: ``fail`` stops something that ``warn`` does not."""

    name: str
    status: Literal["ok", "warn", "fail"]
    message: str
    fix: str = ""


def examine() -> tuple[Check, ...]:
    """All checks, in order."""
    return (
        Check("python", "ok", platform.python_version()),
        check_platform(),
        check_runtime(),
        check_disk(),
        check_shm(),
        *(check_port(port) for port in _PORTS),
        check_gpu(),
        check_containers(),
        check_local_server(),
        check_hub(),
        check_request_schemas(),
    )


def check_request_schemas() -> Check:
    """Whether each request schema that is installed can be used."""
    found = installed()
    if found.broken:
        return Check(
            "request schemas",
            "warn",
            "; ".join(f"{one.name} of {one.distribution}: {one.problem}" for one in found.broken),
            "update or remove the package; models with other request schemas work",
        )
    return Check("request schemas", "ok", ", ".join(sorted(one.name for one in found.dialects)))


def check_platform() -> Check:
    """Whether the embedded server exists for this machine."""
    if reason := runtime.unsupported_platform():
        fix = "serve with --mode docker or on another machine; everything else works here"
        return Check("platform", "warn", reason, fix)
    libc, version = platform.libc_ver()
    return Check("platform", "ok", f"{platform.system()} {platform.machine()}, {libc} {version}")


def check_runtime() -> Check:
    """Whether the embedded runtime is installed and whole."""
    if runtime.unsupported_platform():
        return Check("embedded runtime", "ok", "not for this platform")
    try:
        full = runtime.status()[0]
    except UnsupportedError as error:
        return Check(
            "embedded runtime", "warn", f"{error.what}: {'; '.join(error.details)}", error.fix
        )
    if full.state == "ready":
        return Check("embedded runtime", "ok", f"installed in {full.path}")
    if full.state == "missing":
        message = "not installed; `serve` and `up` install it when needed (2.5 GB)"
        return Check("embedded runtime", "warn", message, "run `trtbuild runtime install`")
    return Check(
        "embedded runtime",
        "fail",
        f"{full.state}: {full.path}",
        "run `trtbuild runtime install --force`",
    )


def check_disk() -> Check:
    """Room in the cache directory."""
    folder = _existing(cache_dir())
    free = shutil.disk_usage(folder).free
    message = f"{free / _GIB:.1f} GiB free for {cache_dir()}"
    if free < _DISK_WANTED:
        return Check(
            "disk",
            "warn",
            message,
            "free some space, or set TRTBUILD_CACHE_DIR to a directory on a larger disk",
        )
    return Check("disk", "ok", message)


def check_shm() -> Check:
    """Room in /dev/shm, through which Triton talks to its Python models."""
    root = Path("/dev/shm")  # noqa: S108 - the kernel's own place for shared memory
    if not root.is_dir():
        return Check("shared memory", "warn", f"{root} does not exist", "use --mode docker")
    usage = shutil.disk_usage(root)
    message = f"{usage.free / _GIB:.1f} of {usage.total / _GIB:.1f} GiB free in /dev/shm"
    if usage.free < _SHM_WANTED:
        return Check(
            "shared memory",
            "warn",
            message,
            "mount -o remount,size=2g /dev/shm, or --shm-size=2g for a container",
        )
    return Check("shared memory", "ok", message)


def check_port(port: int) -> Check:
    """Whether the default port is free."""
    if process.port_is_free(port):
        return Check(f"port {port}", "ok", "free")
    owner = process.port_owner(port) or "another program"
    return Check(f"port {port}", "warn", f"taken by {owner}", "stop it, or serve with --port auto")


def check_gpu() -> Check:
    """GPUs and their driver, as nvidia-smi tells."""
    found = hardware.detect()
    if not found:
        return Check(
            "gpu",
            "warn",
            "nvidia-smi finds no NVIDIA GPU",
            "serve small models with --mode embedded; plan for a GPU with `trtbuild plan --gpu`",
        )
    names = ", ".join(sorted({one.name for one in found}))
    return Check("gpu", "ok", f"{len(found)} × {names}")


def check_containers() -> Check:
    """Whether docker or podman has an engine that answers."""
    tools = [tool for tool in ("docker", "podman") if shutil.which(tool)]
    if not tools:
        return Check(
            "containers", "warn", "no docker or podman", "install one to serve NVIDIA's images"
        )
    for tool in tools:
        answer = process.run([tool, "info", "--format", "{{json .ID}}"], timeout=10)
        if answer.ok:
            return Check("containers", "ok", f"{tool} is running")
    return Check(
        "containers",
        "warn",
        f"{' and '.join(tools)} installed, but not running",
        f"start it (`systemctl start {tools[0]}`) or join the {tools[0]} group",
    )


def check_local_server() -> Check:
    """A tritonserver on PATH, as inside NVIDIA's containers."""
    found = shutil.which("tritonserver")
    if found:
        return Check("tritonserver", "ok", f"{found} (`serve --mode local`)")
    return Check("tritonserver", "ok", "none on PATH; docker or embedded will be used")


def check_hub() -> Check:
    """How the Hugging Face hub will be asked. The token itself is never read out."""
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        return Check(
            "hub",
            "warn",
            "HF_HUB_OFFLINE is set: only cached checkpoints can be converted",
            "unset HF_HUB_OFFLINE to download",
        )
    if get_token():
        return Check("hub", "ok", "a token is set (not shown)")
    source = "HF_TOKEN is not set and nobody is logged in"
    return Check(
        "hub", "warn", f"{source}: gated models cannot be downloaded", "run `hf auth login`"
    )


def _existing(folder: Path) -> Path:
    """The nearest directory on the way up that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder

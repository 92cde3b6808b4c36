"""One container, described without an engine: what runs in it and what the host lends it.

A builder of such a description decides; a renderer only spells. ``docker run`` is rendered here,
other targets render theirs from the same object.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from trtbuild.process import mount

SECRET_NAMES = ("TOKEN", "SECRET", "PASSWORD", "KEY", "CREDENTIAL")


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory of the host, at ``target`` inside."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Port:
    """A port of the container, published on an address of the host."""

    container: int
    host: int
    address: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Claim:
    """A named volume that the platform keeps, at ``target`` inside; ``path`` is a part of it."""

    name: str
    target: str
    path: str = ""
    writable: bool = False


@dataclass(frozen=True, slots=True)
class GpuResource:
    """GPUs of one kind, as a cluster's device plugin names them."""

    count: int
    name: str = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """A command inside the container that exits with 0 while all is well; times in seconds.

    Attributes:
        command: Program and arguments.
        period: Between two runs.
        timeout: Of one run.
        failures: In a row, after which the container counts as failed.
        start: After the start, in which failures do not count.
    """

    command: tuple[str, ...]
    period: int = 10
    timeout: int = 5
    failures: int = 3
    start: int = 0


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A container to run.

    Attributes:
        image: Image reference, by tag or digest.
        command: Program and arguments, after the image's entry point.
        name: Container name; empty: the engine chooses one.
        env: Variables with values. Those whose name marks a secret are rendered by name only, so
            the value must be in the environment of whoever runs the command.
        inherited: Names of variables that are passed on from the caller's environment.
        mounts: In the order in which they are mounted.
        ports: Published ports.
        shm_size: Size of ``/dev/shm`` in the engine's notation, such as ``2g``.
        gpus: ``all``, ``none``, or device indexes such as ``0,1``.
        ulimits: Limits by name; -1 is unlimited.
        user: ``UID:GID``; empty: the image's.
        memory_bytes: Limit that includes ``/dev/shm``; 0: none.
        health: Whether it works; None: the image's own check.
        stop_seconds: From SIGTERM to SIGKILL; 0: the engine's default.
        read_only: Whether the root file system is read-only.
        scratch: Directories in memory, writable also when the root is not.
        claims: Volumes that the platform keeps.
        gpu: GPUs by resource instead of ``gpus``, for a cluster.
    """

    image: str
    command: tuple[str, ...]
    name: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    inherited: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    ports: tuple[Port, ...] = ()
    shm_size: str = ""
    gpus: str = "none"
    ulimits: Mapping[str, int] = field(default_factory=dict)
    user: str = ""
    memory_bytes: int = 0
    health: HealthCheck | None = None
    stop_seconds: int = 0
    read_only: bool = False
    scratch: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    gpu: GpuResource | None = None

    @property
    def secrets(self) -> Mapping[str, str]:
        """The variables whose values must not appear on a command line."""
        return {name: value for name, value in self.env.items() if is_secret(name)}


def is_secret(name: str) -> bool:
    """Whether the variable's value must never be shown."""
    return any(part in name.upper() for part in SECRET_NAMES)


def run_arguments(spec: ContainerSpec, engine: str = "docker") -> tuple[str, ...]:
    """``docker run`` (or ``podman run``) in the foreground; the container is removed at its end."""
    words = [engine, "run", "--rm"]
    words += ["--name", spec.name] if spec.name else []
    words += _gpus(engine, spec.gpus, spec.gpu)
    words += [f"--shm-size={spec.shm_size}"] if spec.shm_size else []
    for name, limit in spec.ulimits.items():
        words += ["--ulimit", f"{name}={limit}"]
    words += ["--user", spec.user] if spec.user else []
    words += _limits(spec)
    for port in spec.ports:
        words += ["-p", _published(port)]
    for each in spec.mounts:
        words += mount(each.source, each.target, written=each.writable)
    for claim in spec.claims:
        words += ["--mount", _claimed(claim)]
    # A value on the command line shows in every process list; a name does not.
    named = dict.fromkeys((*spec.inherited, *spec.secrets), "")
    values = {name: f"={value}" for name, value in spec.env.items()}
    for name, value in sorted({**values, **named}.items()):
        words += ["-e", f"{name}{value}"]
    return (*words, spec.image, *spec.command)


def _limits(spec: ContainerSpec) -> list[str]:
    words = ["--memory", str(spec.memory_bytes)] if spec.memory_bytes else []
    words += ["--stop-timeout", str(spec.stop_seconds)] if spec.stop_seconds else []
    words += ["--read-only"] if spec.read_only else []
    for target in spec.scratch:
        words += ["--tmpfs", target]
    if spec.health is not None:
        words += ["--health-cmd", shlex.join(spec.health.command)]
        words += ["--health-interval", f"{spec.health.period}s"]
        words += ["--health-timeout", f"{spec.health.timeout}s"]
        words += ["--health-retries", str(spec.health.failures)]
        words += ["--health-start-period", f"{spec.health.start}s"]
    return words


def _claimed(claim: Claim) -> str:
    words = ["type=volume", f"source={claim.name}", f"target={claim.target}"]
    words += [f"volume-subpath={claim.path}"] if claim.path else []
    words += [] if claim.writable else ["readonly"]
    return ",".join(words)


def _published(port: Port) -> str:
    address = f"[{port.address}]" if ":" in port.address else port.address
    return f"{address}:{port.host}:{port.container}"


def _gpus(engine: str, gpus: str, resource: GpuResource | None = None) -> list[str]:
    if resource is not None:
        gpus = ",".join(map(str, range(resource.count))) or "none"
    if gpus == "none":
        return []
    if engine == "podman":
        devices = ["all"] if gpus == "all" else gpus.split(",")
        return [word for one in devices for word in ("--device", f"nvidia.com/gpu={one}")]
    # The inner quotes are docker's: a comma would end the value of its own option.
    return ["--gpus", "all" if gpus == "all" else f'"device={gpus}"']

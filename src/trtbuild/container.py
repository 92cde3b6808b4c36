"""One container, described without an engine: what runs in it and what the host lends it.

A builder of such a description decides; a renderer only spells. ``docker run`` is rendered here,
other targets render theirs from the same object.
"""

from __future__ import annotations

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
    words += _gpus(engine, spec.gpus)
    words += [f"--shm-size={spec.shm_size}"] if spec.shm_size else []
    for name, limit in spec.ulimits.items():
        words += ["--ulimit", f"{name}={limit}"]
    words += ["--user", spec.user] if spec.user else []
    for port in spec.ports:
        words += ["-p", _published(port)]
    for each in spec.mounts:
        words += mount(each.source, each.target, written=each.writable)
    # A value on the command line shows in every process list; a name does not.
    named = dict.fromkeys((*spec.inherited, *spec.secrets), "")
    values = {name: f"={value}" for name, value in spec.env.items()}
    for name, value in sorted({**values, **named}.items()):
        words += ["-e", f"{name}{value}"]
    return (*words, spec.image, *spec.command)


def _published(port: Port) -> str:
    address = f"[{port.address}]" if ":" in port.address else port.address
    return f"{address}:{port.host}:{port.container}"


def _gpus(engine: str, gpus: str) -> list[str]:
    if gpus == "none":
        return []
    if engine == "podman":
        devices = ["all"] if gpus == "all" else gpus.split(",")
        return [word for one in devices for word in ("--device", f"nvidia.com/gpu={one}")]
    # The inner quotes are docker's: a comma would end the value of its own option.
    return ["--gpus", "all" if gpus == "all" else f'"device={gpus}"']

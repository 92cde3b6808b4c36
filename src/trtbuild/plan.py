"""What will be done, before anything is done: frozen, printable, pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Step:
    """One action of a plan. ``command`` is what an executor runs; empty for our own work."""

    name: str
    title: str
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RepoFile:
    """A small file of a model, with its bytes. ``path`` is relative to the model's directory."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class WeightsDir:
    """Files to place under ``path``, relative to the model's directory.

    Attributes:
        path: A directory of the model.
        origin: Whose files: empty for the model's own checkpoint, else the name of an adapter.
        artifact: The name of an artifact, instead of an origin.
        files: Which files, and the name that each gets; empty: all, under their own names.
    """

    path: str
    origin: str = ""
    artifact: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """One text for origin or artifact; no adapter's name has a space."""
        return f"artifact {self.artifact}" if self.artifact else self.origin

    def name_of(self, file: str) -> str:
        """The name that a file gets here, empty when it is not placed."""
        return self.files.get(file, "") if self.files else file


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One directory of a model repository: its name, its files, where weights go."""

    name: str
    files: tuple[RepoFile, ...]
    weights: tuple[WeightsDir, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejection:
    """A builder that cannot, with all its reasons."""

    builder: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Demand:
    """What a deployment is to hold; None leaves it to the builder's default."""

    concurrency: int | None = None
    length: int | None = None


@dataclass(frozen=True, slots=True)
class MemoryRow:
    """A line of the memory table, in bytes on one GPU."""

    item: str
    bytes: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Alternative:
    """A change that was computed to fit; ``settings`` are the engine arguments it takes."""

    text: str
    settings: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GpuNeed:
    """How many of one kind of GPU hold the load, and how many sequences they then take."""

    gpu: str
    title: str
    memory_bytes: int
    count: int
    max_concurrency: int


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Does it fit, and if not, the nearest setting that does.

    ``gpu`` is empty and ``fits`` None when no GPU was named; ``needs`` then says how many of
    each known one it takes. ``nearest`` and ``settings`` repeat the first of ``alternatives``.
    """

    gpu: str
    gpus: int
    capacity_bytes: int
    usable_bytes: int
    rows: tuple[MemoryRow, ...]
    concurrency: int
    length: int
    fits: bool | None
    max_concurrency: int
    nearest: str = ""
    settings: Mapping[str, str | int] = field(default_factory=dict)
    alternatives: tuple[Alternative, ...] = ()
    needs: tuple[GpuNeed, ...] = ()
    world: int = 1

    @property
    def needed_bytes(self) -> int:
        """Bytes one GPU must hold."""
        return sum(row.bytes for row in self.rows)


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """Which builder, why no other, what it will do and whether it fits."""

    model: str
    builder: str
    reason: str
    rejected: tuple[Rejection, ...]
    steps: tuple[Step, ...]
    triton: str
    image: str
    memory: MemoryPlan | None = None
    warnings: tuple[str, ...] = ()
    status: Literal["ready", "unsupported"] = "ready"

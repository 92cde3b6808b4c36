"""What will be done, before anything is done: frozen, printable, pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


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


TOKENIZER = "@tokenizer"
ENGINE = "@engine"
GRAMMAR = "@grammar"
GRAMMAR_FILE = "tokenizer_info.json"


@dataclass(frozen=True, slots=True)
class WeightsDir:
    """Checkpoint files to place under ``path`` (relative to the model's directory).

    ``origin`` is empty for the model's own checkpoint, :data:`TOKENIZER` for the small files of
    it that a tokenizer needs, :data:`ENGINE` for a compiled engine, :data:`GRAMMAR` for what
    guided decoding must know of the tokenizer, else the name of an adapter.
    """

    path: str
    origin: str = ""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One directory of a model repository: its name, its files, where weights go."""

    name: str
    files: tuple[RepoFile, ...]
    weights: tuple[WeightsDir, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineBuild:
    """How an engine is compiled for a model.

    Attributes:
        release: The TensorRT-LLM that compiles it.
        dtype: ``float16``, ``bfloat16`` or ``float32``.
        tp, pp: Tensor and pipeline parallel sizes.
        family: The folder of TensorRT-LLM's own converter, for what ours cannot convert.
        workers: Ranks compiled at once.
        options: What ``trtllm-build`` is given, without folders.
        build_config: That part of the engine's ``config.json``, as the build will write it.
    """

    release: str
    dtype: str
    tp: int
    pp: int
    family: str
    workers: int
    options: tuple[str, ...]
    build_config: Mapping[str, Any]

    @property
    def world(self) -> int:
        """Ranks: engine files, GPUs, processes."""
        return self.tp * self.pp


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

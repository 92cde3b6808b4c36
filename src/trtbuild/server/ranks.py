"""The processes that a repository's TensorRT-LLM models need, and what prevents their start.

Leader mode: one server process for each rank under MPI, which must be as many as tp x pp x cp;
those of rank 1 and up load the engines alone. Orchestrator mode: one server process that starts
the ranks of each engine itself, on one machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trtbuild import pbtxt
from trtbuild.errors import ServerError, UsageError
from trtbuild.server.contents import LLM_API_FILE, Contents
from trtbuild.server.engines import engine_ranks
from trtbuild.signature import MOUNT
from trtbuild.wire.syntax import number

How = Literal["plain", "leader", "orchestrator", "llmapi"]
HOWS = ("auto", "plain", "leader", "orchestrator", "llmapi")
# What Triton's Python backend allocates for each instance; see --backend-config=python.
STUB_SHM_BYTES = 64 << 20
_SHM = Path("/dev/shm")  # noqa: S108 - the kernel's own place for shared memory
_PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size", "context_parallel_size")


@dataclass(frozen=True, slots=True)
class RankedModel:
    """A model that runs on one or more ranks.

    Attributes:
        name: The Triton model.
        kind: A compiled engine, or the LLM API.
        world: Number of ranks.
        devices: GPU ids of each instance; empty if not configured.
        problem: Why it cannot be started, a sentence; empty if it can.
    """

    name: str
    kind: Literal["tensorrtllm", "llmapi"]
    world: int
    devices: tuple[tuple[int, ...], ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class RankLayout:
    """How the processes are started, and why. ``world`` is MPI's size."""

    how: How
    world: int
    models: tuple[RankedModel, ...]
    why: str

    @property
    def engines(self) -> tuple[str, ...]:
        """The models that ranks above 0 load."""
        return tuple(model.name for model in self.models if model.kind == "tensorrtllm")


def ranked_models(contents: Contents) -> tuple[RankedModel, ...]:
    """Return the TensorRT-LLM models of a repository with their ranks."""
    made = {"tensorrtllm": _engine, "llmapi": _llm_api}
    return tuple(made[kind](contents.repo / name) for name, kind in contents.trtllm.items())


def lay_out(contents: Contents, how: str = "auto") -> RankLayout:
    """Decide how a repository's processes are started.

    Args:
        contents: The repository.
        how: ``auto``, or one of :data:`HOWS` to insist.

    Raises:
        UsageError: An unknown value of ``how``.
        ServerError: The models cannot be started that way.
    """
    if how not in HOWS:
        raise UsageError(f"unknown launch mode {how!r}", fix=f"use {', '.join(HOWS)}")
    models = ranked_models(contents)
    engines = [model for model in models if model.kind == "tensorrtllm"]
    worlds = sorted({model.world for model in engines})
    chosen, why = _automatic(models, worlds)
    if how != "auto":
        chosen, why = how, "asked for"  # type: ignore[assignment]
    if chosen == "leader" and len(worlds) > 1:
        raise ServerError(
            f"engines of {' and '.join(map(str, worlds))} ranks cannot share one leader: MPI has "
            "one size",
            where=str(contents.repo),
            fix="use --launch orchestrator, or a repository for each",
        )
    if chosen in {"leader", "orchestrator"} and not engines:
        raise ServerError(
            f"{chosen} mode is for compiled engines, but this repository has none",
            where=str(contents.repo),
            fix="leave --launch out",
        )
    world = worlds[-1] if chosen == "leader" else _llm_api_world(models, chosen)
    return RankLayout(chosen, world, models, why)


def _automatic(models: Sequence[RankedModel], worlds: Sequence[int]) -> tuple[How, str]:
    engines = [model for model in models if model.kind == "tensorrtllm"]
    if not worlds or worlds == [1]:
        return "plain", "every engine has one rank" if engines else "no compiled engine"
    if len(worlds) == 1 and not any(len(model.devices) > 1 for model in engines):
        return "leader", f"{worlds[0]} ranks, one process each"
    return "orchestrator", "engines of several sizes or instances, each with ranks of its own"


def _llm_api_world(models: Sequence[RankedModel], how: How) -> int:
    """Return the LLM API's ranks; it starts them itself unless a cluster's launcher does."""
    if how != "llmapi":
        return 1
    return max((model.world for model in models if model.kind == "llmapi"), default=1)


def problems(
    layout: RankLayout, contents: Contents, *, gpus: int | None, shm_bytes: int | None
) -> tuple[str, ...]:
    """Return everything that keeps the processes from starting, as far as known.

    Args:
        layout: The chosen layout.
        contents: The repository.
        gpus: GPUs that the processes will see; None: unknown.
        shm_bytes: Shared memory that they will have; None: unknown.
    """
    return (*_of_models(layout, gpus), *_of_memory(contents, shm_bytes))


def require_startable(
    contents: Contents, layout: RankLayout, *, gpus: int | None, shm_bytes: int | None
) -> None:
    """Raise ServerError with everything that keeps the ranks of TensorRT-LLM from starting."""
    found = problems(layout, contents, gpus=gpus, shm_bytes=shm_bytes) if layout.models else ()
    if found:
        raise ServerError(
            f"the ranks cannot be started: {found[0]}",
            where=str(contents.repo),
            details=found[1:],
            fix="put the engine's files in place, correct gpu_device_ids, build for the GPUs that "
            "are there, give the container more shared memory (--shm-size), or try it without a "
            "GPU: trtbuild serve --rehearse",
        )


def shm_bytes() -> int | None:
    """Return the size of this machine's shared memory; None without any."""
    try:
        found = os.statvfs(_SHM)
    except OSError:
        return None
    return found.f_frsize * found.f_blocks


def shm_option(text: str) -> int | None:
    """Return the bytes of an option such as ``2g``; None for another format."""
    match = re.fullmatch(r"(\d+)([bkmg]?)b?", text.strip().lower())
    if match is None:
        return None
    return int(match[1]) << {"": 0, "b": 0, "k": 10, "m": 20, "g": 30}[match[2]]


def _of_models(layout: RankLayout, gpus: int | None) -> Iterator[str]:
    for model in layout.models:
        if model.problem:
            yield f"{model.name}: {model.problem}"
        for group in model.devices:
            if len(group) != model.world:
                yield (
                    f"{model.name}: gpu_device_ids {','.join(map(str, group))} are {len(group)} "
                    f"GPUs, and it has {model.world} ranks"
                )
            beyond = [device for device in group if gpus is not None and device >= gpus]
            if beyond:
                yield f"{model.name}: there is no GPU {beyond[0]}: {gpus} are seen"
        if gpus is not None and model.world > gpus:
            one = "1 rank takes 1 GPU"
            many = f"{model.world} ranks take {model.world} GPUs"
            yield f"{model.name}: {one if model.world == 1 else many}, and {gpus} are seen"


def _of_memory(contents: Contents, shm_bytes: int | None) -> Iterator[str]:
    needed = shm_needed(contents)
    if shm_bytes is not None and needed > shm_bytes:
        yield (
            f"the Python models' {needed // STUB_SHM_BYTES} instances take {needed >> 20} MiB of "
            f"shared memory (/dev/shm), and it has {shm_bytes >> 20}"
        )


def shm_needed(contents: Contents) -> int:
    """Return the bytes of shared memory that the instances of all Python models take at first."""
    configs = (_config(contents.repo / name) for name in contents.models)
    python = (config for config in configs if config is not None and config.backend == "python")
    counts = (sum(max(1, g.count) for g in config.instance_group) or 1 for config in python)
    return STUB_SHM_BYTES * sum(counts)


def _engine(folder: Path) -> RankedModel:
    config = _config(folder)
    devices = _devices(config)
    place = _engine_folder(folder, config)
    if place is None:
        return RankedModel(folder.name, "tensorrtllm", 1, devices, "it has no version directory")
    world, problem = engine_ranks(place)
    return RankedModel(folder.name, "tensorrtllm", world, devices, problem)


def _engine_folder(folder: Path, config: Any) -> Path | None:
    """Return the directory of ``gpt_model_path``: below the repository, which is mounted at
    :data:`MOUNT`, or elsewhere on the machine, as in hand-written repositories."""
    given = config.parameters["gpt_model_path"].string_value if config is not None else ""
    if given.startswith(f"{MOUNT}/"):
        return folder.parent / given.removeprefix(f"{MOUNT}/")
    return Path(given) if given.startswith("/") else newest_version(folder)


def _llm_api(folder: Path) -> RankedModel:
    import yaml

    version = newest_version(folder)
    try:
        text = (version or folder).joinpath(LLM_API_FILE).read_text(encoding="utf-8")
        found = yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        return RankedModel(folder.name, "llmapi", 1, (), f"{LLM_API_FILE}: {error}")
    sizes = [found.get(key, 1) for key in _PARALLEL] if isinstance(found, dict) else []
    world = 1
    for size in sizes:
        world *= size if isinstance(size, int) and size > 0 else 1
    return RankedModel(folder.name, "llmapi", world, _devices(_config(folder)))


def newest_version(folder: Path) -> Path | None:
    """Return the version directory with the highest number."""
    versions = {n: path for path in folder.iterdir() if (n := number(path.name)) is not None}
    return max((item for item in versions.items() if item[1].is_dir()), default=(0, None))[1]


def _devices(config: Any) -> tuple[tuple[int, ...], ...]:
    text = config.parameters["gpu_device_ids"].string_value if config is not None else ""
    groups = [group.split(",") for group in text.split(";") if group.strip()]
    words = [[word.strip() for word in group] for group in groups]
    return tuple(tuple(n for word in group if (n := number(word)) is not None) for group in words)


def _config(folder: Path) -> Any:
    try:
        return pbtxt.read(folder / "config.pbtxt")
    except (OSError, UnicodeDecodeError, pbtxt.PbtxtError):
        return None

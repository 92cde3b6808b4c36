"""One engine to compile: its inputs, tools and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class EngineBuild:
    """How an engine is compiled for a model.

    Attributes:
        release: The TensorRT-LLM that compiles it.
        dtype: ``float16``, ``bfloat16`` or ``float32``.
        tp, pp: Tensor and pipeline parallel sizes.
        family: The directory of TensorRT-LLM's own converter, for what ours cannot convert.
        workers: Ranks compiled at once.
        options: What ``trtllm-build`` is given, without directories.
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
class Compilation:
    """An engine that is to be compiled.

    Attributes:
        model: The LLM's name.
        key: Digest of all that the engine depends on.
        source: The checkpoint, as users write it.
        image: The container image with the tools.
        build: How it is compiled.
        files: The Hugging Face checkpoint on this machine, name to path, for a conversion in
            the image; empty when ours converts.
        home: Where the engine is kept.
        out: Where it is written first.
        sm: Compute capability of the GPU that compiles it, 90 for 9.0.
        gpu: Its name.
    """

    model: str
    key: str
    source: str
    image: str
    build: EngineBuild
    files: tuple[tuple[str, Path], ...]
    home: Path
    out: Path
    sm: int
    gpu: str

    @property
    def log_path(self) -> Path:
        """The log next to the engine; it is kept if the build fails."""
        return self.home.with_name(f"{self.home.name}.log")
